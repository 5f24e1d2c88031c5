"""One page about one slide: what was read, what was left out, and what was predicted from which reference."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import pl
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.patches import has_patches, patches_of
from bleep_sc._adata.promise import PREDICTABILITY, why_not_promised
from bleep_sc._arrays.blocks import dense
from bleep_sc._output import html
from bleep_sc._output.disk import all_appear
from bleep_sc._version import __version__
from bleep_sc.tl._models.in_uns import read_description
from bleep_sc.tl._predictions.record import params_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from matplotlib.figure import Figure

PACKAGES = ("anndata", "scanpy", "squidpy", "spatialdata", "torch", "tifffile")
UNSURE = 0.1
"""Below this confidence lies a tenth of what the reference held out."""
CITATION = (
    "Xie et al., Spatially Resolved Gene Expression Prediction from H&E Histology Images via Bi-modal Contrastive "
    "Learning, NeurIPS 2023; and bleep_sc, with its version. The reference is data of its own: cite its source, too."
)
PURPOSE = (
    "For research only. The values are predicted from the image, not measured: means of reference spots that look "
    "alike. They vary less than single spots do. Confidence ranks tiles, and is no error bar."
)
N_REFERENCES, N_ACROSS = 8, 2
N_COMPARED = 64
"""Of the genes that vary most, how many are compared."""
SAME_PATTERN = 0.8
"""Correlation of genes above which one of them shows what the other does."""


@dataclass(frozen=True)
class SlideReport:
    """What goes into the page."""

    tiles: AnnData
    """With a layer that BLEEP imputed."""
    ref: AnnData
    """What it was imputed from."""
    key: str
    """Name of the model, and of the layer."""
    genes: Sequence[str]
    """Genes to draw."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What a sheet says of the slide."""

    def write(self, page: Path, picture: Path) -> None:
        """Write the page, with everything inside, and the map of the genes as a picture."""
        name = str(libraries(self.tiles)[0])
        drawn = html.png(self._map())
        sections = {
            "What this is": self._alarm() + html.paragraph(PURPOSE),
            "The slide": html.facts({**self._slide(name), **self.notes}),
            "Tiles": html.facts(self._tiles(name)) + html.figure(html.png(self._patches()), "Where tiles lie."),
            "The prediction": html.facts(self._prediction())
            + self._trust()
            + html.figure(drawn, f"Predicted expression of {', '.join(self.genes)}, every gene on its own scale."),
            "Where the values come from": self._references(),
            "How to cite": html.paragraph(CITATION),
            "Versions": html.facts(
                {
                    "bleep_sc": __version__,
                    **{each: version(each) for each in PACKAGES},
                    "Python": platform.python_version(),
                }
            ),
        }
        text = html.page(f"Predicted expression of {name}", "", sections.items())
        remedy = f"{page.name} and {picture.name} were not written: make room and call again."
        with all_appear(page.parent, remedy) as drafts:
            (drafts / page.name).write_text(text, encoding="utf-8")
            (drafts / picture.name).write_bytes(drawn)

    def _slide(self, name: str) -> dict[str, Any]:
        record = self.tiles.uns[keys.TILES][name]
        library = self.tiles.uns[keys.SPATIAL][name]
        height, width = library["images"]["hires"].shape[:2]
        scale = library["scalefactors"]["tissue_hires_scalef"]
        return {
            "file": Path(library["metadata"]["source_image_path"]).name or "an array",
            "size": f"{width / scale:,.0f} × {height / scale:,.0f} px",
            "µm per px": f"{record['mpp']:.4g} ({record['mpp_source']})",
        }

    def _tiles(self, name: str) -> dict[str, Any]:
        record = self.tiles.uns[keys.TILES][name]
        return {
            "grid": f"{record['layout']}, {record['spacing_um']:g} µm apart, {record['n_grid']:,} tiles",
            "kept": f"{self.tiles.n_obs:,}",
            "left out: too little tissue": f"{record['n_blank']:,}",
            "left out: out of focus": f"{record['n_blurred']:,}"
            + ("" if self.tiles.obs["sharpness"].notna().any() else " (not measured at this resolution)"),
            "left out: outside the regions": f"{record['n_outside_region']:,}",
            "patch": f"{self.tiles.uns[self._patches_key()][name]['size_um']:.0f} µm, "
            f"{self.tiles.uns[self._patches_key()][name]['size']} px",
        }

    def _prediction(self) -> dict[str, Any]:
        record = self.tiles.uns[keys.imputed(self.key)]
        model = read_description(require_model(self.ref, self.key), self.key)
        recipe, library_key = model.recipe, model.params["library_key"]
        features = ", ".join(recipe.get("use_rep", [])) or recipe.get("encoder") or "a module"
        slides = sorted(set(libraries(self.ref, None, library_key).tolist()))
        n_predicted = int(self.tiles.var[keys.predicted(self.key)].sum())
        return {
            "genes": f"{n_predicted:,} predicted, of {self.ref.n_vars:,} that the reference measured",
            "units": f"{record['transform']}, of counts per {record['target_sum']:,.0f}"
            if record["target_sum"]
            else record["transform"],
            "reference": f"{self.ref.n_obs:,} spots" + (f" of {len(slides)} slides ({', '.join(slides)})"),
            "model": f"{record['model_hash']}, on {features}; {params_of(record, self.key)['n_neighbors']} neighbours",
            "predictability": self._predictability(),
            "confidence": self._confidence(),
            "tissue unlike the reference": self._foreign(),
        }

    def _predictability(self) -> str:
        """Say how well genes can be expected to be predicted here, or why that is not known."""
        from bleep_sc.models.basis import BASES

        if why := why_not_promised(self.tiles, self.key):
            return f"not promised: {why}"
        key = keys.predictability(self.key)
        if key not in self.tiles.var:
            return "not known: the reference was fitted without holding anything out"
        known = self.tiles.var[key].dropna()
        said = self.tiles.uns[keys.imputed(self.key)][PREDICTABILITY]
        return (
            f"median Pearson r {known.median():.2f} over {len(known):,} genes, best {known.idxmax()} "
            f"({known.max():.2f}); learnt on {BASES[said]}"
        )

    def _confidence(self) -> str:
        """Say how far to trust the tiles, among spots that the reference held out."""
        if keys.confidence(self.key) not in self.tiles.obs:
            return "not known: the reference was fitted without holding anything out"
        confidence = self.tiles.obs[keys.confidence(self.key)].to_numpy()
        half, low = np.median(confidence), (confidence < UNSURE).mean()
        said = "; a rank, and not an error that can be expected here" if why_not_promised(self.tiles, self.key) else ""
        return (
            f"median {half:.2f}: half of the tiles have a smaller expected error than {half:.0%} of the reference's "
            f"own held-out spots; {low:.0%} of the tiles are below {UNSURE}{said}"
        )

    def _foreign_share(self) -> float | None:
        """Return the share of tiles whose tissue the reference does not know, where that can be known."""
        from bleep_sc.models.known_tissue import FOREIGN

        if keys.typicality(self.key) not in self.tiles.obs:
            return None
        return float((self.tiles.obs[keys.typicality(self.key)].to_numpy() < FOREIGN).mean())

    def _alarm(self) -> str:
        """Say it first where most of the slide is tissue that the reference does not know."""
        from bleep_sc.models.known_tissue import MOSTLY

        share = self._foreign_share()
        if share is None or share <= MOSTLY:
            return ""
        return html.alarm(
            f"{share:.0%} of this slide looks unlike the reference: another stain, scanner, magnification or tissue, "
            "or out of focus. Its predictions are a guess, and should not be used."
        )

    def _trust(self) -> str:
        """Return the map of the confidence, where there is one."""
        if keys.confidence(self.key) not in self.tiles.obs:
            return ""
        axes: Any = pl.confidence(self.tiles, self.key).ravel()
        drawn = html.png(_closed(axes[0].figure))
        return html.figure(drawn, "Which tiles to trust; red rims mark tissue that the reference does not know.")

    def _foreign(self) -> str:
        """Say how much of the tissue the reference does not know."""
        from bleep_sc.models.known_tissue import FOREIGN

        share = self._foreign_share()
        if share is None:
            return "not known: the reference has one slide, no places in µm, or an encoder that was trained"
        return f"{share:.0%} of the tiles; of slides like the reference's own {FOREIGN:.0%}"

    def _map(self) -> Figure:
        from matplotlib.figure import Figure

        n = len(self.genes)
        n_rows = -(-n // N_ACROSS)
        figure = Figure(figsize=(5.2 * min(n, N_ACROSS), 4.2 * n_rows), layout="constrained")
        axes = figure.subplots(n_rows, min(n, N_ACROSS), squeeze=False).ravel()
        pl.spatial(self.tiles, list(self.genes), layer=self.key, ax=axes[:n])
        for empty in axes[n:]:
            empty.axis("off")
        return figure

    def _patches_key(self) -> str:
        recipe = read_description(require_model(self.ref, self.key), self.key).recipe
        return str(recipe.get("features", [recipe])[0]["patches_key"])

    def _patches(self) -> Figure:
        return _closed(pl.patches(self.tiles, patches_key=self._patches_key())[0].figure)

    def _references(self) -> str:
        """Return the reference spots that count most over the slide."""
        share = np.asarray(self.tiles.obsm[keys.weights(self.key)].mean(axis=0)).ravel()
        best = np.argsort(-share)[:N_REFERENCES]
        text = html.paragraph(
            f"{np.count_nonzero(share):,} of {len(share):,} reference spots take part; "
            f"the {len(best)} that count most make {share[best].sum():.1%} of all values."
        )
        if not has_patches(self.ref, self._patches_key()):
            return text + html.paragraph("Their patches are not in the reference.")
        try:
            patches = patches_of(self.ref, self._patches_key())[best]
        except FileNotFoundError as error:
            return text + html.paragraph(f"Their patches are not at hand ({error}).")
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 1.9), layout="constrained")
        axes = figure.subplots(1, len(best), squeeze=False)[0]
        for ax, patch, spot in zip(axes, patches, best, strict=True):
            ax.imshow(patch)
            ax.set_title(f"{share[spot]:.2%}", fontsize="small")
            ax.axis("off")
        names = ", ".join(self.ref.obs_names[best])
        return text + html.figure(html.png(figure), f"The reference spots that count most, with their share: {names}.")


def varied_genes(tiles: AnnData, key: str, n: int = 4) -> list[str]:
    """Return the predicted genes that vary most over a slide, each in a pattern of its own where there are such."""
    known = np.flatnonzero(tiles.var[keys.predicted(key)].to_numpy(dtype=bool))
    values = dense(tiles.layers[key][:, known])
    order = np.argsort(-values.var(axis=0), kind="stable")
    leading = order[:N_COMPARED]  # all genes of a large slide would be held twice more
    deviation = values[:, leading] - values[:, leading].mean(axis=0)
    unit = deviation / np.maximum(np.linalg.norm(deviation, axis=0), np.finfo(np.float32).tiny)
    chosen: list[int] = []
    for place in range(len(leading)):
        if len(chosen) < n and (not chosen or np.abs(unit[:, chosen].T @ unit[:, place]).max() < SAME_PATTERN):
            chosen.append(place)
    chosen += [place for place in range(len(leading)) if place not in chosen][: n - len(chosen)]
    return tiles.var_names[known[leading[chosen]]].tolist()


def _closed(figure: Figure) -> Figure:
    import matplotlib.pyplot as plt

    plt.close(figure)
    return figure
