"""The front door: command line, run configurations, report."""

__version__ = "0.1.0"
