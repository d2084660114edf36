"""HTTP on the wire, without I/O: bytes in, events out."""
