"""Patches on the page of a slide: what places with most and least of a gene look like, and what was borrowed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.patches import has_patches, patches_of
from bleep_sc._arrays.blocks import dense
from bleep_sc._output import html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

N_REFERENCES, N_EXTREMES = 8, 6
SIDE_PX = 112
"""Of a patch on the page, at most."""


def extremes(adata: AnnData, layer: str, genes: Sequence[str], patches_key: str) -> str:
    """Return for every gene the places with the most and the least of it, or why they cannot be shown."""
    if not has_patches(adata, patches_key):
        return html.paragraph("The patches of this slide are not at hand.")
    values = dense(adata.layers[layer][:, adata.var_names.get_indexer(list(genes))])
    order = np.argsort(-values, axis=0, kind="stable")
    n = min(N_EXTREMES, max(1, adata.n_obs // 2))
    shown = np.concatenate([order[:n], order[-n:]])  # (2 n, genes)
    try:
        patches = _some(adata, patches_key, np.unique(shown))
    except FileNotFoundError as error:
        return html.paragraph(f"The patches of this slide are not at hand ({error}).")
    blocks = []
    for i, gene in enumerate(genes):
        for rows, what in ((shown[:n, i], "most"), (shown[n:, i], "least")):
            pictures = [(html.jpeg(patches[row], SIDE_PX), f"{values[row, i]:.2f}") for row in rows]
            blocks.append(html.gallery(pictures, f"{gene}: where there is {what} of it."))
    return "".join(blocks)


def references(adata: AnnData, layer: str, ref: AnnData, patches_key: str) -> str:
    """Return the reference spots that count most over the slide."""
    share = np.asarray(adata.obsm[keys.weights(layer)].mean(axis=0)).ravel()
    best = np.argsort(-share, kind="stable")[:N_REFERENCES]
    text = html.paragraph(
        f"{np.count_nonzero(share):,} of {len(share):,} reference spots take part; "
        f"the {len(best)} that count most make {share[best].sum():.1%} of all values."
    )
    if not has_patches(ref, patches_key):
        return text + html.paragraph("Their patches are not in the reference.")
    try:
        patches = _some(ref, patches_key, best)
    except FileNotFoundError as error:
        return text + html.paragraph(f"Their patches are not at hand ({error}).")
    slides = libraries(ref)
    pictures = [(html.jpeg(patches[spot], SIDE_PX), f"{share[spot]:.2%}, {slides[spot]}") for spot in best]
    return text + html.gallery(pictures, "The reference spots that count most, with their share of all values.")


def _some(adata: AnnData, patches_key: str, rows: NDArray[np.intp]) -> dict[int, NDArray[np.uint8]]:
    """Return patches by their row."""
    rows = np.unique(rows)
    read: Any = np.asarray(patches_of(adata, patches_key)[rows])
    return {int(row): patch for row, patch in zip(rows, read, strict=True)}
