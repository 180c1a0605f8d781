"""Phones over adb: finding them, running programs on them, keeping their conditions steady."""
