"""Depth from one picture: the task, and where its pairs of picture and depth come from."""
