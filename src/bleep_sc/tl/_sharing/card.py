"""The model card of a reference that is shared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.text import code, markdown
from bleep_sc._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bleep_sc.models.encoder_licenses import EncoderLicense
    from bleep_sc.models.fitted import FittedModel

TAGS = ("spatial-transcriptomics", "histology", "gene-expression", "anndata", "bleep_sc")
PACKAGES = ("anndata", "numpy", "torch")
N_BEST = 20
PREDICTED_WELL = 0.3
USE = """\
```python
import bleep_sc as bs

adata_ref = bs.tl.load_reference("FOLDER")  # or huggingface_hub.snapshot_download("owner/name")
tiles = bs.pp.tile_slide("slide.svs", ref=adata_ref{key})
bs.tl.impute(tiles, ref=adata_ref{key})
```
"""
LIMITS = """\
- For research. Not for diagnosis, and not for decisions about patients.
- A predicted value is a mean of about {n_neighbors} measured spots that look alike. Predictions vary less than
  measurements and their genes correlate more: do not feed them to tools that model counts or their noise.
- For tissue, species, stain and magnification like those of the reference. {typicality} marks tissue
  that it does not know (below .05), {confidence} ranks spots, and {predictability} says
  which genes are worth looking at.
- Slides that are in the reference cannot be recognised, since their names and coordinates were removed. Scores of
  predictions of such slides are meaningless.
"""
REMOVED = """\
Removed were the names of slides, donors and spots (replaced by numbers), coordinates, images, patches and features,
paths, every other column of `obs` and `var`, and all predictions but those of spots that were held out. The order of
the spots was kept. Nothing was added to hide the profiles: who has other expression data of a donor can find them, and
profiles tell a donor's sex.
"""
HELD_OUT = {
    "donors": "Whole donors were held out: expect this of another donor.",
    "slides of one donor": "They are another section of the same donor, and all there is: what can be expected of "
    "another donor is not known.",
    "slides": "They are other slides, and whose they are was not told: where donors have several slides, expect less "
    "on others.",
}
"""What was held out, and what can be expected of it."""
CITATION = """\
Xie et al., Spatially Resolved Gene Expression Prediction from H&E Histology Images via Bi-modal Contrastive Learning,
NeurIPS 2023; and bleep_sc, with its version. The data have a source of their own: cite it, too.
"""


@dataclass(frozen=True)
class Card:
    """What is said of a shared reference."""

    model: FittedModel
    """With the neutral names of its slides."""
    key: str
    """Name of the model."""
    title: str
    """Heading."""
    organism: str | None
    """None where it is not stated, as the next two."""
    tissue: str | None
    """What the slides show."""
    license: str | None
    """Of the files."""
    encoders: Mapping[str, EncoderLicense]
    """What is known of the encoders."""
    slides: Mapping[str, int]
    """Spots of every slide in the files."""
    n_genes: int
    """Measured genes in the files."""

    @property
    def n_spots(self) -> int:
        """Spots in the files."""
        return sum(self.slides.values())

    @property
    def is_trained(self) -> bool:
        """Whether weights of the encoder are in the files."""
        return "encoder" in self.model.description.architecture

    def text(self) -> str:
        """Return the card in Markdown, with the facts that hubs read in front."""
        sections = {
            "Use": self._use(),
            "Data": _table(self._data()),
            "Model": _table(self._model()),
            "Image encoder": self._encoder(),
            "Scores": self._scores(),
            "Intended use and limits": self._limits(),
            "What remains of the donors": self._donors(),
            "Licence": self._license(),
            "Citation": CITATION,
        }
        what = "Reads spatially resolved gene expression off H&E images: a reference for BLEEP, written by bleep_sc."
        body = "\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
        return f"{self._front()}\n# {markdown(self.title)}\n\n{what}\n\n{body}"

    def _limits(self) -> str:
        return LIMITS.format(
            n_neighbors=self.model.description.config["n_neighbors"],
            typicality=code(f'obs["{keys.typicality(self.key)}"]'),
            confidence=code(f'obs["{keys.confidence(self.key)}"]'),
            predictability=code(f'var["{keys.predictability(self.key)}"]'),
        )

    def _front(self) -> str:
        """Return the front matter; strings of JSON are strings of YAML."""
        lines = ["---", "library_name: bleep_sc"]
        if self.license is not None:
            lines.append(f"license: {json.dumps(self.license, ensure_ascii=False)}")
        return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in TAGS), "---", ""])

    def _use(self) -> str:
        text = USE.format(key="" if self.key == "bleep" else f", key={json.dumps(self.key)}")
        if self.model.description.architecture.get("encoder") == "":
            text += "\nThe encoder was given as a module: pass one of the same architecture as `encoder=`.\n"
        recipe = self.model.description.recipe
        made = zip(recipe.get("use_rep", []), recipe.get("features", []), strict=True)
        elsewhere = [code(f'obsm["{key}"]') for key, how in made if not how]
        if elsewhere:
            places = ", ".join(elsewhere)
            text += f"\nThe features were made by other software: put the same ones of the tiles into {places}.\n"
        return text

    def _data(self) -> dict[str, str]:
        from bleep_sc.models.fitted import donors_of, expression_of, some

        description = self.model.description
        return {
            "organism": self.organism or "not stated",
            "tissue": self.tissue or "not stated",
            "slides": f"{len(self.slides)}: {', '.join(f'{name} ({count:,})' for name, count in self.slides.items())}",
            "donors": donors_of(description) or "not told",
            "spots": f"{self.n_spots:,}",
            "genes": f"{self.n_genes:,} measured; trained on {len(description.genes):,}: {some(description.genes)}",
            "expression": expression_of(description),
        }

    def _model(self) -> dict[str, str]:
        from bleep_sc.models.fitted import summary

        facts = summary(self.model)
        packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        return {
            **{name: facts[name] for name in ("method", "settings", "images", "parameters") if name in facts},
            "trained on": facts.get("slides", "not known"),
            "versions": f"fitted with bleep_sc {self.model.description.version}, shared with bleep_sc {__version__} "
            f"({packages})",
        }

    def _encoder(self) -> str:
        lines = [
            f"- {code(name)}: {markdown(f'{known.license}. {known.terms}')}".rstrip()
            for name, known in self.encoders.items()
        ]
        inside = (
            "Its weights were trained further and are in `model.safetensors`."
            if self.is_trained
            else "It was frozen, and none of its weights are in the files. The heads and the embeddings were made with "
            "its features; some licences speak of such things, too."
        )
        return "\n".join([*lines, "", f"{inside} This is what bleep_sc knows; the encoder's own page counts.", ""])

    def _scores(self) -> str:
        """Say what was taught by what was held out, and of what else it says something."""
        calibration, genes = self.model.calibration, self.model.description.genes
        r = np.array([]) if calibration is None else np.asarray(calibration.predictability, dtype=np.float64)
        known = np.isfinite(r)
        if not known.any():
            return "No slide was held out when it was fitted: how well it predicts is not known.\n"
        quarters = np.quantile(r[known], [0.25, 0.5, 0.75])
        best = np.argsort(-np.where(known, r, -np.inf), kind="stable")[: min(N_BEST, int(known.sum()))]
        rows = {
            "genes that varied": f"{known.sum():,} of {len(r):,}",
            "Pearson r, median (quartiles)": f"{quarters[1]:.2f} ({quarters[0]:.2f} to {quarters[2]:.2f})",
            f"genes above {PREDICTED_WELL}": f"{(r[known] > PREDICTED_WELL).sum():,}",
            "best": ", ".join(f"{genes[i]} ({r[i]:.2f})" for i in best),
        }
        return (
            "Correlation of every gene of the panel with the measured values of slides that were held out when it was "
            f"fitted, mean over slides. {HELD_OUT[self.model.basis]}\n\n" + _table(rows)
        )

    def _donors(self) -> str:
        description = self.model.description
        target_rep = description.params["target_rep"]
        corrected = f", and their corrected expression {code(target_rep)}" if target_rep else ""
        return (
            f"- Expression profiles of {self.n_spots:,} spots in {self.n_genes:,} genes{corrected}.\n"
            f"- Joint embeddings of these profiles and of {self.n_spots:,} patches of the images.\n"
            f"- Which spots are of one slide: {', '.join(self.slides)}{self._owners()}.\n"
            "- In the model, averages and quantiles over the spots: of genes, of image features, and of how well genes "
            "were predicted.\n\n" + REMOVED
        )

    def _owners(self) -> str:
        """Return what is told of whose the slides are."""
        return "; and which slides are of one donor" if self.model.description.params.get("donors") else ""

    def _license(self) -> str:
        own = self.license or "None is stated: ask those who share it before you use it or pass it on"
        return f"{markdown(own)}. The terms of the image encoder hold beside it.\n"


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {markdown(name)} | {markdown(fact)} |" for name, fact in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines, ""])
