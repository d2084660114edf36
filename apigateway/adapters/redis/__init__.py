"""Shared state in Redis, or in what speaks its protocol."""
