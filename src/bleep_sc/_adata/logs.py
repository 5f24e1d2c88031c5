"""Logarithms of expression: to which base, of which total, and carried to those of another."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._arrays.blocks import row_blocks, stored_values
from bleep_sc._output.damage import undamaged

if TYPE_CHECKING:
    from numpy.typing import NDArray

NATURAL = "log1p"
BASES = (math.e, 2.0, 10.0)
"""Bases that are tried where nothing says which it is."""
N_TOLD_BY = 1024
"""Spots that tell the base and the total of all, evenly spread."""
SAME_BY_CHANCE = 1e-3
"""Steps between totals, in logarithms, that are none."""
SAME_TOTAL = 0.05
"""Totals that differ by less are of the same normalisation."""


def transform_of(base: float) -> str:
    """Return what logarithms to a base are called: ``log1p``, or such as ``log2(1+x)``."""
    return NATURAL if math.isclose(base, math.e, rel_tol=1e-6) else f"log{base:.6g}(1+x)"


def base_of(transform: str) -> float | None:
    """Return the base of logarithms by what they are called; None for what are none."""
    if transform == NATURAL:
        return math.e
    named = re.fullmatch(r"log([\d.]+(?:e\+\d+)?)\(1\+x\)", transform)
    with undamaged("The record of expression", f"transform={transform!r}"):
        base = None if named is None else float(named[1])
    return None if base is None or not 1 < base < math.inf else base


def linear_totals(matrix: Any, base: float = math.e) -> Any:
    """Return the total of every spot before the logarithm, (n,)."""
    linear = (_mapped(block, lambda values: np.expm1(values * math.log(base))) for _, block in row_blocks(matrix))
    return np.concatenate([np.empty(0), *(np.asarray(block.sum(axis=1)).ravel() for block in linear)])


def base_and_total(matrix: Any, noted: Any) -> tuple[float, float]:
    """Return the base of logarithms and the total of every spot before, 0 where that is not one for all.

    ``noted`` is ``uns["log1p"]``, where scanpy writes the base. A total that all spots have tells the base, whatever is
    noted there; else that counts.
    """
    told = noted.get("base") if isinstance(noted, Mapping) else None
    with undamaged("uns['log1p']", "base"):
        base = math.e if told is None else float(told)
    if not (math.isfinite(base) and base > 1):
        raise ValueError(f"uns['log1p'] says base={told!r}, which is no base of logarithms. Mend or delete it.")
    n = matrix.shape[0]
    some = matrix if n <= N_TOLD_BY else matrix[np.linspace(0, n - 1, N_TOLD_BY).astype(np.intp)]
    for each in dict.fromkeys((base, *BASES)):
        with np.errstate(over="ignore"):
            totals = linear_totals(some, each)
        if len(totals) > 1 and np.isfinite(totals).all() and np.ptp(totals) < 1e-3 * totals.mean():
            return each, round(float(totals.mean()), 1)
    return base, 0.0


def parts_of_one_total(matrix: Any) -> list[tuple[float, float, NDArray[np.intp]]]:
    """Return the parts of rows that have a total in common before a logarithm: its base, the total and the rows.

    Three rows and a tenth of all are needed, since a few totals are alike by chance. A base that is not theirs gives
    the rows of a part different totals; a part that another one holds is left out.
    """
    least = max(3, matrix.shape[0] // 10)
    parts: list[tuple[float, float, NDArray[np.intp]]] = []
    for base in BASES:
        with np.errstate(over="ignore"):
            totals = linear_totals(matrix, base)
        order = np.argsort(totals, kind="stable")
        with np.errstate(invalid="ignore", divide="ignore"):
            steps = np.diff(np.log(totals[order]))
        for rows in np.split(order, np.flatnonzero(~(steps < SAME_BY_CHANCE)) + 1):
            own = totals[rows]
            if len(rows) >= least and own.min() > 0 and own.max() < (1 + 1e-3) * own.min() < math.inf:
                parts.append((base, float(own.mean()), np.sort(rows)))
    parts.sort(key=lambda part: -len(part[2]))
    return [part for i, part in enumerate(parts) if not any(np.isin(part[2], each[2]).any() for each in parts[:i])]


def are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two units mean the same, as far as it is known."""
    known = one["target_sum"] and other["target_sum"]
    same_total = not known or abs(one["target_sum"] / other["target_sum"] - 1) <= SAME_TOTAL
    return bool(one["transform"] == other["transform"] and one["corrected"] == other["corrected"] and same_total)


def can_convert(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether numbers in units can be carried to others exactly: logarithms that nothing has corrected."""
    are_logs = base_of(own["transform"]) is not None and base_of(wanted["transform"]) is not None
    return are_logs and not own["corrected"] and not wanted["corrected"]


def converted(matrix: Any, own: Mapping[str, Any], wanted: Mapping[str, Any]) -> Any:
    """Carry logarithms to another base, and to another total where both are known; zeros stay zeros."""
    rates = [math.log(base_of(each["transform"]) or math.e) for each in (own, wanted)]
    known = own["target_sum"] and wanted["target_sum"]
    factor = wanted["target_sum"] / own["target_sum"] if known else 1.0
    return _mapped(matrix, lambda values: np.log1p(np.expm1(values * rates[0]) * factor) / rates[1], np.float32)


def named(units: Mapping[str, Any]) -> str:
    """Say what numbers in units are."""
    names = {NATURAL: "logarithms", "counts": "counts"}
    base = base_of(units["transform"])
    other = "values that are neither logarithms nor counts" if base is None else f"logarithms {units['transform']}"
    total = f" of counts per {units['target_sum']:,.0f}" if units.get("target_sum") else ""
    return ("corrected " if units.get("corrected") else "") + names.get(units["transform"], other) + total


def label(units: Mapping[str, Any]) -> str:
    """Return what the axis of a figure says of numbers in units, such as ``ln(1 + counts per 10,000)``."""
    base, total = base_of(str(units.get("transform", ""))), units.get("target_sum")
    counts = f"counts per {total:,.0f}" if total else "normalised counts"
    if base is not None:
        name = "ln" if math.isclose(base, math.e, rel_tol=1e-6) else f"log{base:.6g}"
        said = f"{name}(1 + {counts})"
    else:
        said = "counts" if units.get("transform") == "counts" else "expression"
    return f"{said}, corrected" if units.get("corrected") else said


def _mapped(matrix: Any, function: Any, dtype: Any = np.float64) -> Any:
    """Apply a function that keeps zeros to what a dense or sparse matrix stores."""
    values = function(stored_values(matrix).astype(np.float64)).astype(dtype, copy=False)
    if not sparse.issparse(matrix):
        return values
    result = matrix.astype(dtype, copy=True)
    result.data = values
    return result
