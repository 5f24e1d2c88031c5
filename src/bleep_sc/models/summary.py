"""What a fitted model is, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bleep_sc.models.calibration import Calibration
    from bleep_sc.models.fitted import Description, FittedModel

METHODS = {"bleep": "BLEEP", "ridge": "ridge regression", "stnet": "ST-Net", "histogene": "HisToGene"}
SHOWN = 5
"""Genes and slides that are named, at most."""


def summary(model: FittedModel) -> dict[str, str]:
    """Return the facts about a fitted model by their names."""
    description = model.description
    fitted = f"with bleep_sc {description.version}" if description.version else ""
    facts = {
        "method": METHODS.get(description.method, description.method),
        "settings": description.preset,
        "images": images_of(description),
        "expression": expression_of(description),
        "genes": f"{len(description.genes):,}: {some(description.genes)}",
        "slides": slides_of(description),
        "held out": held_out(model.calibration, description.genes),
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
    if description.method == "histogene":
        return f"pixels of {_patches(recipe)}"
    return _encoded(recipe)


def _encoded(recipe: dict[str, Any]) -> str:
    around = f", averaged within {recipe['radius_um']:g} µm" if "radius_um" in recipe else ""
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


def held_out(calibration: Calibration | None, genes: Sequence[str]) -> str:
    """Say how well genes were predicted on slides that were held out."""
    if calibration is None:
        return "no slide: neither predictability nor confidence nor intervals are known"
    r = np.asarray(calibration.predictability, dtype=np.float64)
    known = np.isfinite(r)
    if not known.any():
        return "no gene varied"
    best = [f"{genes[i]} ({r[i]:.2f})" for i in np.argsort(-np.where(known, r, -np.inf), kind="stable")[:SHOWN]]
    return f"median Pearson r {np.median(r[known]):.2f} over {known.sum():,} genes; best {', '.join(best)}"


def some(names: Sequence[str]) -> str:
    """Return the first of many names."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
