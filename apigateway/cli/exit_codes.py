"""What the exit status of every command says."""

from __future__ import annotations

FINE = 0
REFUSED = 1  # the file has errors, an example fails, a generated page is out of date
USAGE = 2  # click's own, for a command line that cannot be read
NOT_FOUND = 3  # no such Api, route or kind; no route takes the request
