"""Plots: they take AnnData, draw on axes and return them."""

from bleep_sc.pl._spatial import spatial

__all__ = ["spatial"]
