"""Measures of agreement between predicted and measured expression; arrays in, arrays out."""

from bleep_sc.metrics.correlation import pearson, spearman

__all__ = ["pearson", "spearman"]
