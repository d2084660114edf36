"""Hostile input for every parser of ours: targets, how inputs are made, and how one is tried."""
