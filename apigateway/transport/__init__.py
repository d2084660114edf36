"""Twisted endpoints whose connections are the event loop's own: no hop between its bytes and a protocol."""
