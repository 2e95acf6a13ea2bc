"""Numbers to answers."""
