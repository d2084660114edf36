"""`python -m bench` runs the plain benchmark."""

from bench.plain import main

main()
