"""How far the noise ceiling is off where the truth is known: profiles of her2st, smoothed, and measured anew.

The expression of C4 is smoothed by a factorisation, which gives rates without noise. Poisson counts are drawn from them
at several depths, and what is found in one draw is compared with the truth: the ceiling of `metrics.noise_ceiling` with
the correlation that the rates themselves have with the draw, the square root of `metrics.reliability` with that of the
correlation between two draws, which share the depth of every spot.

    python benchmarks/noise_ceiling.py
"""

import numpy as np
import pandas as pd
from sklearn.decomposition import NMF

import bleep_sc as bs
from bleep_sc import metrics

DEPTHS = (300, 500, 1000, 2000, 5000, 10000, 20000)
N_FACTORS, N_COPIES, N_DRAWS = 8, 6, 5
SPREAD = 0.4
"""Of the logarithm of the depth over spots."""


def rates() -> np.ndarray:
    """Return a profile for every spot, copied so that correlations are sharp; rows sum to one."""
    adata = bs.datasets.her2st(["C4"])
    shares = adata.X.toarray().astype(np.float64)
    shares *= 1e4 / shares.sum(axis=1, keepdims=True)
    model = NMF(N_FACTORS, init="nndsvda", max_iter=1000, tol=1e-3, random_state=0)
    smooth = model.fit_transform(shares) @ model.components_
    return np.repeat(smooth / smooth.sum(axis=1, keepdims=True), N_COPIES, axis=0)


def logs(counts: np.ndarray) -> np.ndarray:
    """Normalise as everywhere."""
    return np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def main() -> None:
    """Print what is true and what is found, by depth."""
    random = np.random.default_rng(0)
    profiles = rates()
    spread = np.exp(random.normal(0, SPREAD, (len(profiles), 1)))
    rows = []
    for depth in DEPTHS:
        expected = depth * spread * profiles
        pairs = [(random.poisson(expected), random.poisson(expected)) for _ in range(N_DRAWS)]
        reliability = np.mean([np.nan_to_num(metrics.pearson(logs(a), logs(b))) for a, b in pairs], axis=0)
        reached = np.mean([np.nan_to_num(metrics.pearson(logs(profiles), logs(a))) for a, _ in pairs], axis=0)
        columns = (
            reached,
            np.nan_to_num(metrics.noise_ceiling(pairs[0][0])),
            np.sqrt(np.maximum(reliability, 0)),
            np.sqrt(np.nan_to_num(metrics.reliability(pairs[0][0]))),
        )
        values, one = logs(pairs[0][0]), np.zeros(len(profiles), dtype=str)
        for name, by in (("HEG", "mean"), ("HVG", "variance")):
            genes = metrics.highest_genes(values, one, by=by)
            rows.append((depth, name, *(each[genes].mean() for each in columns)))
    names = ["reached by the rates", "noise_ceiling", "second measurement", "√ reliability"]
    table = pd.DataFrame(rows, columns=["counts a spot", "genes", *names])
    print(table.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
