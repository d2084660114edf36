"""Connections in and out: what carries exchanges between a listener and a target."""
