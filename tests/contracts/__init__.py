"""What every implementation of a seam promises; for plug-in authors to subclass."""
