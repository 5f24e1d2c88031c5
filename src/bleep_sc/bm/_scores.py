"""A row for every run, slide and gene."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc import metrics
from bleep_sc._adata import keys
from bleep_sc._arrays.blocks import dense

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from bleep_sc.bm._folds import Fold, Split
    from bleep_sc.bm._runs import Run


def score_runs(runs: Sequence[Run], data: Split, fold: Fold, given: Run | None) -> Iterator[pd.DataFrame]:
    """Score the runs of a fold against the truth, slide by slide; ``given`` is location copy."""
    truth, ceiling = data.truth(fold.group, fold.panel), _ceilings(data, fold)
    measured, slides = dense(truth.X), truth.obs[keys.LIBRARY].astype(str).to_numpy()
    reference = dense(fold.train[:, fold.panel].X)
    known_before = _membership("reference", reference, fold.train.obs[keys.LIBRARY].astype(str).to_numpy())
    names = dict.fromkeys(slides.tolist())
    of_all = {slide: metrics.crps(None, reference, measured[slides == slide]) for slide in names}
    for run, slide in product(runs, names):
        rows = slides == slide
        columns = {
            "method": run.method,
            "seed": run.seed,
            "group": fold.group,
            "library": slide,
            "gene": run.genes,
            **_agreement(run.values[rows], measured[rows]),
            "crps": _crps(run, rows, reference, measured[rows]),
            "crps_reference": of_all[slide],
            "partial": np.nan if given is None else _partial(run, given, measured, rows),
            "ceiling": ceiling[slide],
            **_moments("measured", measured[rows]),
            **_moments("predicted", run.values[rows]),
            **known_before,
            **_membership("truth", measured[rows], slides[rows]),
            "MG": np.isin(run.genes, data.markers),
            "seconds": run.seconds,
        }
        yield pd.DataFrame(columns)


def _ceilings(data: Split, fold: Fold) -> dict[str, NDArray[np.float64]]:
    """Return for every held-out slide the highest correlation of each gene that counting noise leaves."""
    held_out = data.groups == fold.group
    columns = data.adata.var_names.get_indexer(fold.panel)
    slides = data.slides[held_out]
    return {
        str(slide): metrics.noise_ceiling(data.counts[held_out][slides == slide])[columns]
        for slide in np.unique(slides)
    }


def _agreement(predicted: NDArray[np.float32], measured: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    return {
        "pearson": metrics.pearson(predicted, measured),
        "spearman": metrics.spearman(predicted, measured),
        "ccc": metrics.concordance(predicted, measured),
        "rmse": metrics.rmse(predicted, measured),
        "mae": metrics.mae(predicted, measured),
    }


def _crps(
    run: Run, rows: NDArray[np.bool_], reference: NDArray[np.float32], measured: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Score the averaged training spots as a distribution; of a point, the CRPS is the absolute error."""
    if run.weights is None:
        return metrics.mae(run.values[rows], measured)
    return metrics.crps(run.weights[rows], reference, measured)


def _partial(run: Run, given: Run, measured: NDArray[np.float32], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    if run.method == given.method:
        return np.full(len(run.genes), np.nan)
    return metrics.partial_pearson(run.values[rows], measured[rows], given.values[rows])


def _moments(name: str, values: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    return {
        f"{name}_mean": values.mean(axis=0, dtype=np.float64),
        f"{name}_variance": values.var(axis=0, dtype=np.float64),
    }


def _membership(origin: str, values: NDArray[np.float32], slides: NDArray[np.str_]) -> dict[str, NDArray[np.bool_]]:
    """Tell which genes are among the 50 with the highest mean and variance."""
    everything = np.arange(values.shape[1])
    return {
        f"HEG_{origin}": np.isin(everything, metrics.highest_genes(values, slides, by="mean")),
        f"HVG_{origin}": np.isin(everything, metrics.highest_genes(values, slides, by="variance")),
    }
