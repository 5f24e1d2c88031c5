from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import listed
from bleep_sc._output.text import drawn
from bleep_sc.pl._axes import axes_for, panel_size
from bleep_sc.pl._colors import INK, categorical
from bleep_sc.pl._finish import finished
from bleep_sc.pl._style import require_style

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PANEL_INCHES = (3.35, 2.6)
NAMES = {"loss": "training loss", "validation_pearson": "Pearson r on held-out spots"}
"""What is recorded, in words."""
DIVERGED = -1.0
"""What is recorded of a learning rate that was too large."""


def history(
    adata: AnnData,
    key: str = "bleep",
    *,
    figsize: tuple[float, float] | None = None,
    ax: Axes | NDArray[np.object_] | None = None,
    show: bool | None = None,
    save: str | Path | bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Draw how the training of a model went, epoch by epoch.

    A loss that still falls at the end asks for more epochs, and one that is level early for fewer; neither says how
    well a model predicts, which slides do that it has not seen (``var["bleep_predictability"]``, or
    :func:`bleep_sc.bm.cross_validate`). ST-Net has a second panel: what its learning rates reached on held-out spots,
    and what was chosen.

    Parameters
    ----------
    adata
        A reference with a fitted model.
    key
        Name of the model.
    figsize
        Width and height of a panel, inches.
    ax
        Axes to draw on, one for everything that was recorded.
    show, save, return_fig
        As in :func:`bleep_sc.pl.spatial`: show the figure, save it, return it.
    kwargs
        For the curves, :meth:`matplotlib.axes.Axes.plot`.

    Returns
    -------
    The axes: one, or an array. With ``return_fig`` the figure; with ``show`` nothing.

    Raises
    ------
    KeyError
        When there is no such model.
    ValueError
        When it has no history, since it was solved, and not trained.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.fit`:

    >>> ax = bs.pl.history(adata_ref)
    """
    from matplotlib.lines import Line2D

    require_style("history", kwargs, "the curves", Line2D)
    record = _record(adata, key)
    curves = {name: np.atleast_2d(np.asarray(values, dtype=np.float64)) for name, values in record["history"].items()}
    axes = axes_for(ax, 1, len(curves), panel_size(figsize, PANEL_INCHES)).ravel()
    for each, (name, lines) in zip(axes, curves.items(), strict=True):
        labels = _labels(record, len(lines))
        colors = [INK] if len(lines) == 1 else categorical(len(lines))
        for line, label, color in zip(lines, labels, colors, strict=True):
            epochs = np.arange(1, len(line) + 1)
            each.plot(
                epochs,
                np.where(line == DIVERGED, np.nan, line),
                **{"color": color, "label": label, "linewidth": 1.5, **kwargs},
            )
        if len(lines) > 1:
            best, epoch = np.unravel_index(np.argmax(lines), lines.shape)
            each.plot(epoch + 1, lines[best, epoch], "o", color=colors[int(best)], label="chosen")
            each.legend(fontsize="small", frameon=False, title="learning rate", title_fontsize="small")
        each.set(xlabel="epoch", ylabel=NAMES.get(name, drawn(name)))
        each.set_title(drawn(f"{key}: {lines.shape[1]} epochs"), fontsize="medium")
        each.spines[["top", "right"]].set_visible(False)
    return finished(axes[0] if len(axes) == 1 else axes, "history", show=show, save=save, return_fig=return_fig)


def _record(adata: AnnData, key: str) -> dict[str, Any]:
    """Return a model in ``uns`` that was trained."""
    models = [name for name, each in adata.uns.items() if isinstance(each, dict) and "history" in each]
    if key not in models:
        raise KeyError(
            f"key={key!r} is no model in uns (there are: {listed(models)}). Run bleep_sc.tl.fit(adata) first."
        )
    record: dict[str, Any] = adata.uns[key]
    if not any(len(np.ravel(values)) for values in record["history"].values()):
        raise ValueError(f"key={key!r} has no history: it was solved, not trained. Pass one of {listed(models)}.")
    return record


def _labels(record: dict[str, Any], n: int) -> list[str]:
    """Return the learning rates of several curves."""
    rates = json.loads(str(record.get("config", "{}"))).get("learning_rates", [])
    return [f"{rate:g}" for rate in rates] if len(rates) == n else [f"{i}" for i in range(1, n + 1)]
