from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for, panel_size, wrapped
from bleep_sc.pl._colors import INK, OWN
from bleep_sc.pl._finish import finished
from bleep_sc.pl._style import require_style

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

NEEDED = ("held_out", "gene_set", "genes_from", "method", "mean", "lower", "upper")
CEILING, NULLS = "noise ceiling", ("mean", "permuted")


def benchmark(
    table: pd.DataFrame,
    *,
    gene_sets: Sequence[str] = ("HEG", "HVG"),
    genes_from: str = "reference",
    figsize: tuple[float, float] | None = None,
    ax: Axes | NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Draw how well every method does on every gene set, with intervals (table 1 of the paper).

    What was held out stands in rows of panels, another donor above another section of the same. Methods are sorted by
    the last gene set. Predictions that know nothing are grey; the dashed line is what counting noise leaves to be
    reached. A star is behind methods that were trained elsewhere, perhaps on these slides
    (:func:`bleep_sc.bm.external`).

    Parameters
    ----------
    table
        What :func:`bleep_sc.bm.summarise` returned.
    gene_sets
        Gene sets, a panel each in every row.
    genes_from
        Where HEG and HVG come from: ``"reference"`` or ``"truth"``.
    figsize
        Width and height of a panel, inches.
    ax
        Axes to draw on, as many as there are gene sets times what was held out.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.
    kwargs
        For the intervals, :meth:`matplotlib.axes.Axes.errorbar`.

    Returns
    -------
    The axes: one, or an array, row by row. With ``return_fig`` the figure; with ``show`` nothing.

    Examples
    --------
    After the example of :func:`bleep_sc.bm.cross_validate`:

    >>> axes = bs.pl.benchmark(bs.bm.summarise(table))
    """
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    require_style("benchmark", kwargs, "the intervals", Line2D, Axes.errorbar)
    if missing := [name for name in NEEDED if name not in table]:
        made = (
            "bleep_sc.bm.summarise(table) makes it of this table" if "gene" in table else "bleep_sc.bm.summarise does"
        )
        raise KeyError(f"table= lacks {listed(missing)}. Pass a summary: {made}.")
    asked = dict(iter(table.groupby("held_out", sort=False)))
    rows = [{name: _part(part, name, genes_from) for name in gene_sets} for part in asked.values()]
    orders = [
        parts[gene_sets[-1]].drop(index=CEILING, errors="ignore")["mean"].sort_values().index.tolist() for parts in rows
    ]
    height = 0.9 + 0.32 * max(map(len, orders))
    size = panel_size(figsize, (2.9, height))
    axes = axes_for(ax, len(rows), len(gene_sets), size)
    for panels, question, parts, order in zip(axes, asked, rows, orders, strict=True):
        for each, (name, part) in zip(panels, parts.items(), strict=True):
            _draw(each, part, order, kwargs)
            labels = [drawn(_called(method, part)) for method in order]
            each.set_yticks(range(len(order)), labels if each is panels[0] else [""] * len(order))
            each.set_title(drawn(wrapped(f"{name}, {question}", size[0])), fontsize="small")
    flat = axes.ravel()
    shown = flat[0] if len(flat) == 1 else flat
    return finished(shown, "benchmark", show=show, save=save, return_fig=return_fig)


def _called(method: str, part: pd.DataFrame) -> str:
    """Return the name of a method, with a star where it was trained elsewhere."""
    return f"{method}*" if "trained_elsewhere" in part and part.loc[method, "trained_elsewhere"] else method


def _draw(ax: Axes, part: pd.DataFrame, order: Sequence[str], style: dict[str, Any]) -> None:
    """Draw the means of one gene set and their intervals, a row for every method."""
    for height, method in enumerate(order):
        row = part.loc[method]
        color = "0.6" if method in NULLS else OWN if method == "bleep" else INK
        errors = [[row["mean"] - row["lower"]], [row["upper"] - row["mean"]]]
        of_method = {"fmt": "o", "markersize": 5, "elinewidth": 1.5, "color": color, **style}
        ax.errorbar(row["mean"], height, xerr=np.maximum(errors, 0), **of_method)
    if CEILING in part.index:
        ax.axvline(part.loc[CEILING, "mean"], linestyle="--", linewidth=1, color="0.4")
        place = (part.loc[CEILING, "mean"], len(order) - 0.45)
        small: dict[str, Any] = {"fontsize": "x-small", "color": "0.4"}
        ax.annotate(CEILING, place, (-3, 0), textcoords="offset points", ha="right", va="bottom", **small)
    ax.axvline(0, linewidth=0.8, color="0.8", zorder=0)
    ax.set_ylim(-0.6, len(order) - 0.1)
    ax.set_xlabel("mean Pearson r")
    ax.spines[["top", "right"]].set_visible(False)


def _part(table: pd.DataFrame, gene_set: str, genes_from: str) -> pd.DataFrame:
    fixed = table["genes_from"].isin(["panel", "fixed"])
    part = table[(table["gene_set"] == gene_set) & (fixed | (table["genes_from"] == genes_from))]
    if part.empty:
        raise KeyError(
            f"gene_sets={gene_set!r} is not in the table (it has: {listed(table['gene_set'].unique())}) with "
            f"genes_from={genes_from!r} (it has: {listed(table['genes_from'].unique())})."
        )
    return part.set_index("method")
