"""Ports made real: the clock of the machine, logs, metrics, name resolution."""
