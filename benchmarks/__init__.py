"""What is claimed about speed, one file a subject, printed as JSON lines; see `make bench`."""
