"""Where the colours of a panel begin, turn and end."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bleep_sc._output.arguments import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.colors import Normalize
    from numpy.typing import NDArray

    Bound: TypeAlias = float | str | Callable[[NDArray[np.float64]], float] | None

LEAVE_OUT = (1, 99)
"""Percentiles at which colours begin and end, where nothing is given."""
REMEDY = "Pass a number, a percentile such as 'p99', a function of the values, or a list of these."


def norms_of(
    values: Sequence[NDArray[Any] | None],
    vmin: Sequence[Bound],
    vmax: Sequence[Bound],
    vcenter: Sequence[Bound],
    norm: Sequence[Normalize | None],
    *,
    share: bool,
) -> list[Normalize | None]:
    """Return how the numbers of every panel are mapped to colours; None for panels that have none.

    ``share`` has all panels begin with the least and end with the largest of what they begin and end with.
    """
    numbers = [i for i, each in enumerate(values) if each is not None and each.dtype != object]
    ends: dict[int, tuple[float, float]] = {}
    for i in numbers:
        if norm[i] is not None and not vmin[i] is vmax[i] is vcenter[i] is None:
            raise ValueError(f"norm={shown(norm[i])} is given with vmin=, vmax= or vcenter=. Pass either.")
        ends[i] = _ends(values[i], vmin[i], vmax[i])  # type: ignore[arg-type]
    if share and ends:
        lows, highs = zip(*ends.values(), strict=True)
        ends = dict.fromkeys(ends, (min(lows), max(highs)))
    return [
        _norm(values[i], *ends[i], vcenter[i], norm[i]) if i in ends else None  # type: ignore[arg-type]
        for i in range(len(values))
    ]


def _norm(values: NDArray[Any], low: float, high: float, vcenter: Bound, norm: Normalize | None) -> Normalize:
    from matplotlib.colors import Normalize, TwoSlopeNorm

    if norm is not None:
        own = copy.copy(norm)  # what is not set in it is found panel by panel
        own.autoscale_None(values[np.isfinite(values)])
        return own
    if vcenter is None:
        return Normalize(low, high)
    center = _bound("vcenter", vcenter, values)
    if not low < center < high:
        raise ValueError(
            f"vcenter={shown(vcenter)} must lie between where the colours begin, {low:.4g}, and where they end, "
            f"{high:.4g}. Pass vmin= and vmax=."
        )
    return TwoSlopeNorm(center, low, high)


def _ends(values: NDArray[Any], vmin: Bound, vmax: Bound) -> tuple[float, float]:
    """Return where the colours begin and end; None leaves out the lowest and the highest of a hundred spots."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = np.percentile(finite, LEAVE_OUT)
    low, high = (low, high) if high > low else (finite.min(), finite.max())
    ends = (
        float(low if vmin is None else _bound("vmin", vmin, finite)),
        float(high if vmax is None else _bound("vmax", vmax, finite)),
    )
    if ends[0] > ends[1]:
        given = " and ".join(f"{name}={shown(b)}" for name, b in (("vmin", vmin), ("vmax", vmax)) if b is not None)
        raise ValueError(f"{given}: colours would begin at {ends[0]:.4g} and end at {ends[1]:.4g}. {REMEDY}")
    return ends


def _bound(name: str, bound: Any, values: NDArray[Any]) -> float:
    """Return a number that is given, a percentile of the values, or what a function says of them."""
    found: Any = bound(values) if callable(bound) else bound
    try:
        if isinstance(found, str):
            return float(np.nanpercentile(values, float(found.removeprefix("p")) if found.startswith("p") else -1))
        number = float(found)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={shown(bound)} is no number and no percentile. {REMEDY}") from None
    if isinstance(found, bool) or not np.isfinite(number):
        raise ValueError(f"{name}={shown(bound)} must be finite. {REMEDY}")
    return number
