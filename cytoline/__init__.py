"""What two or more stages of the pipeline share, and the command line."""

__version__ = "0.1.0"
