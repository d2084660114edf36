"""Configuration: one model, read from YAML or JSON, checked whole, named by its digest."""
