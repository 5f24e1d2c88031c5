"""What the page of a slide says, heading by heading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc import pl
from bleep_sc._adata import keys
from bleep_sc._adata.cells import has_cells
from bleep_sc._adata.gene_ranks import WHY_NOT_KNOWN, WORDS, distinct_genes, rank_genes
from bleep_sc._adata.promise import LEAST, why_not_promised
from bleep_sc._arrays.blocks import dense
from bleep_sc._output import html
from bleep_sc.io._page import cautions, facts, pictures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData

CITATION = (
    "Xie et al., Spatially Resolved Gene Expression Prediction from H&E Histology Images via Bi-modal Contrastive "
    "Learning, NeurIPS 2023; and bleep_sc, with its version. The reference is data of its own: cite its source, too."
)
PURPOSE = (
    "For research only. The values are predicted from the image, not measured: means of reference spots that look "
    "alike. They vary less than single spots do. Confidence ranks tiles, and is no error bar."
)
OF_CELLS = (
    " A value is that of the place around a cell, and not that of the cell: the patch holds the cell with its "
    "neighbours, as the spots of the reference do. Cells are no replicates, and are not told apart by it."
)
PARTS = {keys.REGION: "regions", keys.CELL_CLASS: "classes of cells"}
"""Columns of ``obs`` over whose values means are given."""
HOW_TO_READ = (
    "Drag to move, turn the wheel or pinch to zoom. Choose a gene in the list, or search it; a place under the pointer "
    "says its value, and shows what it was read off from."
)
N_LISTED = 20
"""Genes in tables."""


@dataclass(frozen=True)
class SlidePage:
    """One slide, and what goes into its page."""

    adata: AnnData
    """The tiles or spots of the slide, predicted."""
    name: str
    layer: str
    ref: AnnData | None
    model_key: str
    patches_key: str
    notes: Mapping[str, str]
    """What else is known of the slide."""
    size: tuple[int, int] | None = None
    """Width and height of its scan, px, where that is at hand."""

    def sections(self, view: str) -> Iterator[tuple[str, str]]:
        """Give the headings of the page and what stands below them; ``view`` is the slide itself."""
        adata, layer = self.adata, self.layer
        yield "What this is", self._boxes() + html.paragraph(PURPOSE + (OF_CELLS if self._is_of_cells else ""))
        yield "The slide and its genes", html.paragraph(HOW_TO_READ) + view
        yield "Which genes to read", self._genes()
        for column, parts in PARTS.items():
            if column in adata.obs and adata.obs[column].notna().any():
                yield f"Means of the {parts}", html.table(self._means(column))
        shown = distinct_genes(adata, layer)
        yield "What the tissue looks like there", pictures.extremes(adata, layer, shown, self.patches_key)
        yield "The slide", html.facts({**facts.of_slide(adata, self.name, self.size), **self.notes})
        yield "Cells" if self._is_of_cells else "Tiles", html.facts(facts.of_tiles(adata, self.name, self.patches_key))
        yield "The prediction", html.facts(facts.of_prediction(adata, layer, self.ref, self.model_key)) + self._trust()
        if self.ref is not None:
            about = html.facts(facts.of_reference(adata, layer, self.ref, self.model_key))
            borrowed = pictures.references(adata, layer, self.ref, self.patches_key)
            yield "Where the values come from", about + self._shares() + borrowed
        yield "How to cite", html.paragraph(CITATION)
        yield "Versions", html.facts(facts.of_software())

    @property
    def _is_of_cells(self) -> bool:
        return has_cells(self.adata, self.name)

    def _boxes(self) -> str:
        """Say, not to be overlooked, why not to believe the page; nothing where it is as good as it says."""
        if warning := cautions.alarm(self.adata, self.layer):
            return html.alarm(warning)
        warning = cautions.caution(self.adata, self.layer)
        return html.caution(warning) if warning else ""

    def _genes(self) -> str:
        """Say which genes are to be read, and what their r means."""
        ranked = rank_genes(self.adata, self.layer)
        readable = ranked[ranked["is_readable"]]
        if why := why_not_promised(self.adata, self.layer):
            return html.paragraph(
                f"Nothing is promised of any gene here: {why}. All genes are grey in the list, and those that vary "
                "most are first; that they vary does not say that they are right."
            )
        if not len(readable):
            return html.paragraph(f"No gene reaches r = {LEAST} on held-out slides: none of the maps is to be read.")
        table = pd.DataFrame(
            {
                "gene": readable.index,
                "held-out r": [f"{r:.2f}" for r in readable["r"]],
                "r²": [f"{r * r:.0%}" for r in readable["r"]],
                "its map": readable["means"].to_numpy(),
            }
        )
        said = "; ".join(f"from {least}, it {words}" for least, words in WORDS.items() if np.isfinite(least))
        return html.paragraph(
            f"{len(readable):,} of {len(ranked):,} genes are to be read. r is the correlation with what was measured "
            "on held-out slides, less what chance explains, and r² its share of the differences between measured "
            f"spots, which are noisy. Of a map: {said}; below {LEAST} it is not to be read, and the gene is grey in "
            "the list. "
            + self._not_known(ranked)
            + (f"The first {N_LISTED} are:" if len(table) > N_LISTED else "They are:")
        ) + html.table(table[:N_LISTED])

    @staticmethod
    def _not_known(ranked: pd.DataFrame) -> str:
        """Say of how many genes nothing is known, and why."""
        unknown = ranked.index[ranked["r"].isna()]
        if not len(unknown):
            return ""
        return (
            f"Of {len(unknown):,} others, such as {unknown[0]}, r is not known, and they are grey, too: each is "
            f"{WHY_NOT_KNOWN}. Genes to learn on are chosen when the reference is prepared (--genes, or genes=). "
        )

    def _means(self, column: str) -> pd.DataFrame:
        """Return the mean of every leading gene over the places of every part of a column, and how many these are."""
        ranked = rank_genes(self.adata, self.layer)
        names = ranked.index[ranked["is_readable"]] if ranked["is_readable"].any() else ranked.index
        names = names[:N_LISTED]
        values = dense(self.adata.layers[self.layer][:, self.adata.var_names.get_indexer(names)])
        table: dict[str, Any] = {
            "gene": ["(cells)" if self._is_of_cells else "(tiles)", *names],
            "held-out r": ["", *map(_r, ranked["r"][: len(names)])],
        }
        region = self.adata.obs[column].astype(object)
        for each in sorted(region.dropna().astype(str).unique()):
            inside = (region.astype(str) == each).to_numpy()
            table[each] = [f"{inside.sum():,}", *(f"{mean:.2f}" for mean in values[inside].mean(axis=0))]
        return pd.DataFrame(table)

    def _trust(self) -> str:
        """Return the map of the confidence and its distribution, where there is one."""
        if keys.confidence(self.layer) not in self.adata.obs:
            return ""
        import matplotlib.pyplot as plt

        axes: Any = pl.confidence(self.adata, self.layer, library_id=self.name).ravel()
        drawn = html.png(axes[0].figure)
        plt.close(axes[0].figure)
        return html.figure(drawn, "Which tiles to trust; red rims mark tissue that the reference does not know.")

    def _shares(self) -> str:
        """Return how much of the values comes from which slide of the reference."""
        import json

        shares = json.loads(self.adata.uns[keys.imputed(self.layer)].get("shares", "{}"))
        if not shares:
            return ""
        ordered = sorted(shares.items(), key=lambda each: -each[1])
        table = pd.DataFrame(ordered, columns=["slide of the reference", "share of all values"])
        table["share of all values"] = [f"{share:.1%}" for share in table["share of all values"]]
        return html.table(table)


def _r(r: float) -> str:
    return "" if np.isnan(r) else f"{r:.2f}"
