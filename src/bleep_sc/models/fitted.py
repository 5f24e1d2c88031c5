"""A fitted model with all that is needed to use it again, as bytes or as a folder. Nothing is ever pickled."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from bleep_sc._output import html
from bleep_sc.models.basis import BASES, basis
from bleep_sc.models.calibration import Calibration
from bleep_sc.models.known_tissue import KnownTissue
from bleep_sc.models.methods import METHODS

LEARNT: dict[str, Any] = {"calibration": Calibration, "typicality": KnownTissue}
"""What held-out slides taught, kept as tensors whose names begin with its own and a slash."""


@dataclass(frozen=True)
class Description:
    """Plain data from which a fitted model is built again."""

    method: str
    """One of :data:`bleep_sc.models.methods.METHODS`."""
    architecture: dict[str, Any]
    """Widths of the layers, and the encoder that was trained, if one was."""
    genes: list[str]
    """What the expression side was trained on, in order."""
    recipe: dict[str, Any]
    """How the images became the input."""
    config: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters."""
    params: dict[str, Any] = field(default_factory=dict)
    """Arguments of the call that fitted it."""
    slides: dict[str, int] = field(default_factory=dict)
    """Spots of every slide that it was fitted on; empty where that is not known, as the next two."""
    preset: str = ""
    """The published or default settings that ``config`` is nearest to, and in what it differs."""
    version: str = ""
    """Of bleep_sc, when it was fitted."""


@dataclass(frozen=True, repr=False)
class FittedModel:
    """A trained module and its description."""

    module: Any
    """BLEEP, StNet, HisToGene, Hist2ST, or a linear layer for ridge regression."""
    description: Description
    calibration: Calibration | None = None
    """What it knows about its own predictions, where donors or slides were held out."""
    typicality: KnownTissue | None = None
    """What it knows about the tissue of its reference, where donors or slides were held out."""

    @property
    def basis(self) -> str:
        """What was held out when it was fitted, one of :data:`bleep_sc.models.basis.BASES`."""
        held_out = not (self.calibration is None and self.typicality is None)
        return basis(self.description.params, self.description.slides, held_out=held_out)

    @property
    def smoothing_um(self) -> float:
        """Over how much tissue embeddings are averaged before they are looked for, µm: as was learnt, or was told."""
        if self.calibration is not None:
            return float(self.calibration.smoothing_um)
        return float(self.description.config.get("smoothing_um") or 0)

    def __repr__(self) -> str:
        """Say what it is, a fact a line."""
        return "FittedModel\n" + "\n".join(f"    {name}: {fact}" for name, fact in summary(self).items())

    def _repr_html_(self) -> str:
        """Say the same in a notebook."""
        return html.facts(summary(self))

    def to_bytes(self) -> bytes:
        """Return the weights, and what held-out slides taught beside them, as safetensors bytes."""
        tensors = apart(self.module.state_dict())
        for part in LEARNT:
            known = getattr(self, part)
            arrays = {} if known is None else vars(known)
            tensors |= {f"{part}/{name}": torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        return safetensors.torch.save(tensors)


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that share no memory, on the CPU: safetensors refuses tied weights."""
    on_cpu = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in on_cpu.items()}


def weights_hash(weights: bytes) -> str:
    """Return the name of a set of weights."""
    return hashlib.sha256(weights).hexdigest()[:16]


SHOWN = 5
"""Genes and slides that are named, at most."""


def summary(model: FittedModel) -> dict[str, str]:
    """Return the facts about a fitted model by their names."""
    description = model.description
    fitted = f"with bleep_sc {description.version}" if description.version else ""
    facts = {
        "method": METHODS[description.method].title,
        "settings": description.preset,
        "images": images_of(description),
        "expression": expression_of(description),
        "genes": f"{len(description.genes):,}: {some(description.genes)}",
        "slides": slides_of(description),
        "donors": donors_of(description),
        "held out": held_out(model),
        "parameters": f"{sum(each.numel() for each in model.module.parameters()):,}",
        "fitted": fitted,
    }
    return {name: fact for name, fact in facts.items() if fact}


def images_of(description: Description) -> str:
    """Say what the image side starts from."""
    recipe = description.recipe
    if "use_rep" in recipe:
        parts = zip(recipe["use_rep"], recipe["features"], strict=True)
        return "; ".join(f"{key} ({_encoded(made)})" if made else f"{key} (made elsewhere)" for key, made in parts)
    if "encoder" in description.architecture:
        return f"{description.architecture['encoder'] or 'a module'}, trained with the model, on {_patches(recipe)}"
    if METHODS[description.method].images == "pixels":
        return f"pixels of {_patches(recipe)}"
    return _encoded(recipe)


def _encoded(recipe: dict[str, Any]) -> str:
    if "genes" in recipe:
        return f"expression that {recipe['encoder']} predicts"
    around = f", averaged within {recipe['radius_um']:g} µm" if "radius_um" in recipe else ""
    if "sub_tiles" in recipe:
        n = recipe["sub_tiles"]
        around = f", on {n} × {n} parts of each, and on those within {recipe['neighbors_um']:g} µm{around}"
    return f"{recipe['encoder'] or 'a module'}, frozen, on {_patches(recipe)}{around}"


def _patches(recipe: dict[str, Any]) -> str:
    side = f"{recipe['size']} px"
    stains = f" with stains normalised by {recipe['stains']}" if recipe.get("stains") else ""
    um = f" showing {recipe['size_um']:.0f} µm" if np.isfinite(recipe["size_um"]) else ""
    return f"patches of {side}{um}{stains}"


def expression_of(description: Description) -> str:
    """Say where the expression is, and in which units."""
    params = description.params
    units = params.get("units", {})
    total = units.get("target_sum")
    place = f"obsm[{params['target_rep']!r}]" if params.get("target_rep") else "X"
    place = f"layers[{params['layer']!r}]" if params.get("layer") else place
    return f"{place}, {units.get('transform', 'unknown')}" + (f" of counts per {total:,.0f}" if total else "")


def slides_of(description: Description) -> str:
    """Say which slides it was fitted on."""
    counts = description.slides
    if not counts:
        return ""
    named = some([f"{name} ({count:,})" for name, count in counts.items()])
    return f"{len(counts)} with {sum(counts.values()):,} spots: {named}"


def donors_of(description: Description) -> str:
    """Say whose the slides are; nothing where that was not told."""
    donors = description.params.get("donors")
    if not donors:
        return ""
    names, counts = np.unique(list(donors.values()), return_counts=True)
    return f"{len(names)}: {some([f'{name} (slides: {count})' for name, count in zip(names, counts, strict=True)])}"


def held_out(model: FittedModel) -> str:
    """Say how well genes were predicted on what was held out, and what that was."""
    calibration, genes = model.calibration, model.description.genes
    if calibration is None:
        return "no slide: neither predictability nor confidence nor intervals are known"
    r = np.asarray(calibration.predictability, dtype=np.float64)
    known = np.isfinite(r)
    if model.basis == "parts of one slide":
        return BASES[model.basis]
    if not known.any():
        return f"{BASES[model.basis]}: no gene varied"
    best = [f"{genes[i]} ({r[i]:.2f})" for i in np.argsort(-np.where(known, r, -np.inf), kind="stable")[:SHOWN]]
    return (
        f"{BASES[model.basis]}: median Pearson r {np.median(r[known]):.2f} over {known.sum():,} genes; best "
        + ", ".join(best)
    )


def some(names: Sequence[str]) -> str:
    """Return the first of many names."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
