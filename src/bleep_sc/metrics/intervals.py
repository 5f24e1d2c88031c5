"""Intervals that resample what is independent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval."""

    mean: float
    lower: float
    upper: float
    n_groups: int
    between_groups: bool
    """Whether groups were resampled: False with a single one, which allows no inference between groups."""


def bootstrap_interval(
    values: NDArray[np.floating],
    groups: NDArray[np.str_],
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    random_state: int = 0,
) -> Interval:
    """Bootstrap the mean of one value a section, in two stages: patients first, then sections within each.

    The percentile interval. Every drawn patient weighs by the sections drawn for it, as many as it has. With a single
    patient its sections alone are resampled, and ``between_groups`` is False; with a single section the interval is the
    value itself.

    Parameters
    ----------
    values
        (n_sections,).
    groups
        (n_sections,): the patient of each.
    level
        Of the interval, between 0 and 1.
    n_resamples, random_state
        How many resamples, and their seed.

    Raises
    ------
    ValueError
        When there is no value, a value is not finite, or ``level`` is none.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or len(values) != len(groups):
        raise ValueError(f"{len(values)} values and {len(groups)} groups: one group for each value is needed.")
    if not np.isfinite(values).all():
        raise ValueError(
            f"values= holds {int((~np.isfinite(values)).sum())} that are not finite; leave them out first."
        )
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1.")
    members = [values[groups == group] for group in np.unique(groups)]
    random = np.random.default_rng(random_state)
    means = np.empty(n_resamples)
    for i in range(n_resamples):
        drawn = random.integers(len(members), size=len(members))
        sections = [members[group][random.integers(len(members[group]), size=len(members[group]))] for group in drawn]
        means[i] = np.concatenate(sections).mean()
    tail = (1 - level) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(lower), float(upper), len(members), len(members) > 1)
