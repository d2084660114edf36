"""The jobs: a file for each kind of them."""
