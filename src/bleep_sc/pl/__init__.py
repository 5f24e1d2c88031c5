"""Plots: they take AnnData or a table, draw on axes and return them. They compute nothing but layout."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.pl._benchmark import benchmark
from bleep_sc.pl._calibration import calibration
from bleep_sc.pl._confidence import confidence
from bleep_sc.pl._gene_correlation import gene_correlation
from bleep_sc.pl._history import history
from bleep_sc.pl._leiden import leiden
from bleep_sc.pl._mean_variance import mean_variance
from bleep_sc.pl._patches import patches
from bleep_sc.pl._registration import registration
from bleep_sc.pl._retrieval import retrieval
from bleep_sc.pl._spatial import spatial
from bleep_sc.pl._top_genes import top_genes
from bleep_sc.pl._umap import umap
from bleep_sc.pl._viewer import viewer

__all__ = [
    "benchmark",
    "calibration",
    "confidence",
    "gene_correlation",
    "history",
    "leiden",
    "mean_variance",
    "patches",
    "registration",
    "retrieval",
    "spatial",
    "top_genes",
    "umap",
    "viewer",
]

check_calls_of(globals())
