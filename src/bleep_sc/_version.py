"""The version of the package, which is written into every record."""

__version__ = "0.2.0"
