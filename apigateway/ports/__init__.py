"""Ports: what the pipeline may ask of the world outside, as interfaces, and their twins in memory."""
