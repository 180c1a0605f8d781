"""The native runner from this side: its protocol, its programs, batches of them, this machine."""
