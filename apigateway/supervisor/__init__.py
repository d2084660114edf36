"""The supervisor of several workers on one machine: it carries no traffic."""
