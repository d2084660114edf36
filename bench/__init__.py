"""Benchmarks: apart from the tests, and from the package. README.md tells how to read them."""
