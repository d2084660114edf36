"""The programs that are measured, a file each: how it is found, configured and started."""
