"""Runs: the steps from a space, a task and a device to a network that meets its budget."""
