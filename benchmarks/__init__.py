"""Claims as commands: each prints one JSON line last and never fails for being slow."""
