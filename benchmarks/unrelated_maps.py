"""How often unrelated maps of a tissue are called related: the p-values of sets of genes, and a permutation of spots.

``python benchmarks/unrelated_maps.py`` prints the table of docs/howto/gene_sets.md. It takes a minute.
"""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import cdist

from bleep_sc.metrics import pearson
from bleep_sc.metrics._spatial_chance import chance_of_agreement

N_MAPS, N_PERMUTATIONS = 1000, 499
KINDS = {
    "alike within 1 spot": ("exponential", 1.0),
    "alike within 3 spots": ("exponential", 3.0),
    "alike within 8 spots": ("exponential", 8.0),
    "smooth over 5 spots": ("gaussian", 5.0),
    "gradients": ("gradients", 2.0),
    "rim against middle": ("rim", 2.0),
    "patches": ("patches", 2.0),
}


def lattice(n_rows: int) -> np.ndarray:
    """Return spots of a Visium slide with a ragged outline, (n, 2); neighbours are one apart."""
    row, column = (axis.ravel() for axis in np.mgrid[0:n_rows, 0 : 2 * n_rows])
    on = (row + column) % 2 == 0
    x = np.column_stack([column[on] * 0.5, row[on] * np.sqrt(3) / 2])
    x -= x.mean(axis=0)
    angle = np.arctan2(x[:, 1], x[:, 0])
    return x[np.hypot(*x.T) < 0.42 * n_rows * (1 + 0.25 * np.sin(3 * angle) + 0.1 * np.cos(5 * angle))]


def maps(centers: np.ndarray, kind: str, reach: float, rng: np.random.Generator) -> np.ndarray:
    """Return random maps, (n_spots, N_MAPS)."""
    distance, scaled = cdist(centers, centers), centers / centers.std()
    covariance = np.exp(-0.5 * np.square(distance / reach) if kind == "gaussian" else -distance / reach)
    result = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(centers))) @ rng.normal(size=(len(centers), N_MAPS))
    if kind == "gradients":
        result += 5 * scaled @ rng.normal(size=(2, N_MAPS))
    if kind == "rim":
        result += 3 * ((scaled**2).sum(axis=1) - 1)[:, None] * rng.normal(size=N_MAPS)
    if kind == "patches":
        for _ in range(3):
            middle, radius = rng.integers(len(centers), size=N_MAPS), rng.uniform(0.12, 0.4, N_MAPS)
            result += 3 * rng.normal(size=N_MAPS) * (distance[:, middle] < radius * np.ptp(centers[:, 0]))
    return result


def by_spot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the p-values of a permutation of spots, by Student's t."""
    r = pearson(one, other)
    return stats.t.sf(r * np.sqrt((len(one) - 2) / (1 - r**2)), len(one) - 2)


def main() -> None:
    """Print the shares of p < .05."""
    rows = []
    for label, (kind, reach) in KINDS.items():
        for n_rows in (16, 30):
            rng, centers = np.random.default_rng(0), lattice(n_rows)
            slides = np.repeat("a", len(centers))
            one, other = maps(centers, kind, reach, rng), maps(centers, kind, reach, rng)
            half = 0.5 * one + np.sqrt(0.75) * other
            p, found = (
                chance_of_agreement(one, each, centers, slides, n_permutations=N_PERMUTATIONS) for each in (other, half)
            )
            shares = [(values <= 0.05).mean() for values in (p, by_spot(one, other), found)]
            rows.append((label, len(centers), *shares))
    columns = ["maps", "spots", "unrelated", "unrelated, spots permuted", "a quarter shared"]
    print(pd.DataFrame(rows, columns=columns).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
