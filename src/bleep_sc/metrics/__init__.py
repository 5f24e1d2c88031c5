"""Measures of agreement between predicted and measured expression; arrays in, arrays out."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.metrics.ceiling import noise_ceiling, reliability
from bleep_sc.metrics.clusters import cluster_agreement
from bleep_sc.metrics.correlation import concordance, partial_pearson, pearson, spearman
from bleep_sc.metrics.crps import crps
from bleep_sc.metrics.error import mae, relative_variance_distance, rmse
from bleep_sc.metrics.gene_gene import (
    CorrelationAgreement,
    ModuleAgreement,
    correlation_agreement,
    gene_correlation,
    gene_modules,
    gene_order,
    module_agreement,
)
from bleep_sc.metrics.gene_sets import highest_genes
from bleep_sc.metrics.interval_score import interval_score
from bleep_sc.metrics.intervals import Interval, bootstrap_interval
from bleep_sc.metrics.mixing import Mixing, batch_mixing, lisi
from bleep_sc.metrics.nulls import permuted
from bleep_sc.metrics.recovery import Recovery, recovery
from bleep_sc.metrics.rubin import Pooled, rubin
from bleep_sc.metrics.ssim import ssim

__all__ = [
    "CorrelationAgreement",
    "Interval",
    "Mixing",
    "ModuleAgreement",
    "Pooled",
    "Recovery",
    "batch_mixing",
    "bootstrap_interval",
    "cluster_agreement",
    "concordance",
    "correlation_agreement",
    "crps",
    "gene_correlation",
    "gene_modules",
    "gene_order",
    "highest_genes",
    "interval_score",
    "lisi",
    "mae",
    "module_agreement",
    "noise_ceiling",
    "partial_pearson",
    "pearson",
    "permuted",
    "recovery",
    "relative_variance_distance",
    "reliability",
    "rmse",
    "rubin",
    "spearman",
    "ssim",
]

check_calls_of(globals())
