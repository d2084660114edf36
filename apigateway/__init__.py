"""An API gateway on Twisted: routing, policies, balancing and what it did, in one program."""

__version__ = "0.1.0"
