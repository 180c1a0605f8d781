"""Optimisers over a space, all behind one seam (`search.searchers.base`)."""
