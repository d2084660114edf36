"""The pipeline, without I/O: routing, plans, the exchange and its phases."""
