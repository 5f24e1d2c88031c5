"""Intervals that resample what is independent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bleep_sc._output.arguments import shown


@dataclass(frozen=True)
class Interval:
    """A mean and its interval; the bounds are NaN where there is nothing to resample."""

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
    r"""Interval of the mean of one value a section, by a bootstrap in two stages: patients, then sections within each.

    Every drawn patient weighs by the sections drawn for it, as many as it has. With a single patient its sections alone
    are resampled, and ``between_groups`` is False.

    The interval is :math:`\bar x \pm t_{n-1} \sqrt{n / (n - 1)} \, s`, where :math:`s` is the standard deviation of the
    resampled means, :math:`n` the number of patients (of sections, with a single patient), and :math:`t_{n-1}` the
    quantile of Student's distribution. The percentiles of so few resampled units would be far too narrow: of four, a
    "95 %" interval covers the mean in some 80 % of cases (Hesterberg, The American Statistician 2015). With one patient
    the interval is Student's own, up to the resampling. Two units allow next to nothing, and it is as wide as that.

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
        When there is no value, a value is not finite, or ``level`` or ``n_resamples`` is none.

    Examples
    --------
    Four sections of two patients:

    >>> interval = bs.metrics.bootstrap_interval(np.array([0.3, 0.32, 0.4, 0.42]), np.array(["a", "a", "b", "b"]))
    >>> round(interval.mean, 2), interval.between_groups, interval.lower < 0.3
    (0.36, True, True)
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    if np.shape(groups) != values.shape or not values.size:
        raise ValueError(
            f"{values.size} values and groups={shown(groups)}: pass one group for each value, an array (n_sections,)."
        )
    groups = np.asarray(groups)
    if not np.isfinite(values).all():
        raise ValueError(
            f"values= holds {int((~np.isfinite(values)).sum())} that are not finite; leave them out first."
        )
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1.")
    if n_resamples < 2:
        raise ValueError(f"n_resamples={n_resamples} must be at least 2, such as 2000.")
    mean, names = float(values.mean()), np.unique(groups)
    n_units = len(values) if len(names) == 1 else len(names)
    if n_units == 1:
        return Interval(mean, float("nan"), float("nan"), len(names), between_groups=False)
    means = _resampled_means([values[groups == name] for name in names], n_resamples, random_state)
    error = means.std() * np.sqrt(n_units / (n_units - 1))
    reach = float(t.ppf((1 + level) / 2, n_units - 1) * error)
    return Interval(mean, mean - reach, mean + reach, len(names), len(names) > 1)


def _resampled_means(members: list[NDArray[np.float64]], n_resamples: int, random_state: int) -> NDArray[np.float64]:
    """Draw groups, then as many members of each drawn group as it has, with replacement; (n_resamples,) means."""
    random = np.random.default_rng(random_state)
    sizes = np.array([len(values) for values in members])
    table = np.zeros((len(members), sizes.max()))
    for row, values in zip(table, members, strict=True):
        row[: len(values)] = values
    drawn = random.integers(len(members), size=(n_resamples, len(members)))  # groups
    within = random.random((*drawn.shape, sizes.max())) * sizes[drawn][..., None]  # member of each, as a place
    taken = np.arange(sizes.max()) < sizes[drawn][..., None]
    chosen = table[drawn[..., None], within.astype(np.intp)]
    return (chosen * taken).sum(axis=(1, 2)) / taken.sum(axis=(1, 2))
