"""Optimisers over a space, all behind one seam (`netadapt.search.searchers.base`)."""
