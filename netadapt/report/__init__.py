"""The report of a run: read records from its folder, draw pictures of them, lay out one page."""
