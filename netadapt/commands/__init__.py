"""The commands, one file a subject: each parses, calls one function and prints."""
