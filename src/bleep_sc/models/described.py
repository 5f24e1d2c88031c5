"""What the description of a fitted model may hold, wherever it was stored, before anything is built from it."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from bleep_sc._output.damage import damaged, undamaged
from bleep_sc._output.messages import listed
from bleep_sc.models.fitted import Description, weights_hash
from bleep_sc.models.methods import METHODS

NUMBER = float | int
PARTS: dict[str, dict[str, Any]] = {
    "architecture": {
        "encoder": str,
        "n_features": int,
        "n_genes": int,
        "n_models": int,
        "n_layers": int,
        "n_mixers": int,
        "n_graph_layers": int,
        "views": list,
    },
    "params": {
        "library_key": str,
        "spatial_key": str,
        "pitch_um": NUMBER | None,
        "donor_key": str | None,
        "donors": dict | None,
        "layer": str | None,
        "target_rep": str | None,
        "reference_layer": str | None,
        "units": dict,
        "n_measured": int,
        "measured": str,
        "sample_key": str | None,
        "is_bulk": bool,
    },
    "recipe": {
        "use_rep": list,
        "features": list,
        "patches_key": str,
        "size": int,
        "size_um": NUMBER,
        "encoder": str,
        "fingerprint": str,
        "symmetries": bool,
        "stains": str,
        "stain_target": list,
        "context_of": str,
        "radius_um": NUMBER,
        "sub_tiles": int,
        "neighbors_um": NUMBER,
        "genes": str,
    },
    "units": {"transform": str, "target_sum": NUMBER, "corrected": bool},
}
"""Kinds of the values that are read; there may be others beside them."""
READ: dict[str, dict[str, tuple[str, ...]]] = {
    "any": {
        "params": ("library_key", "layer", "target_rep", "units"),
        "units": ("transform", "target_sum", "corrected"),
    },
    "bleep": {"config": ("n_neighbors", "metric", "regression", "regression_penalty")},
    "histogene": {"config": ("max_spots",), "architecture": ("n_positions",)},
    "hist2st": {"config": ("max_spots",), "architecture": ("n_positions",)},
}
"""Values without which nothing is predicted, of any method and of one."""
OF_PATCHES = ("patches_key", "size", "size_um", "encoder", "fingerprint")
OF_FEATURES = (*OF_PATCHES, "symmetries")


def checksum(description: Description, weights: bytes) -> str:
    """Return what tells whether a stored model is the one that was written."""
    said = json.dumps(asdict(description), sort_keys=True)
    return hashlib.sha256(f"{weights_hash(weights)} {said}".encode()).hexdigest()[:16]


def check_description(description: Description, place: str) -> None:
    """Refuse a description whose values are not of their kinds; ``place`` is where it is stored."""
    if description.method not in METHODS:
        raise ValueError(f"The method {description.method!r} is not known to this version of bleep_sc.")
    with undamaged(place, "its description"):
        for part in ("architecture", "recipe", "config", "params", "slides"):
            if not isinstance(getattr(description, part), Mapping):
                raise damaged(place, f"{part} holds no named values")
        genes = description.genes
        if not genes or len(set(genes)) < len(genes) or not all(isinstance(gene, str) for gene in genes):
            raise damaged(place, f"its {len(genes)} genes are no list of different names")
        if description.architecture.get("n_genes", len(genes)) != len(genes):
            raise damaged(place, f"it names {len(genes)} genes, and has {description.architecture['n_genes']!r}")
        for part in ("architecture", "params"):
            _check_kinds(getattr(description, part), PARTS[part], part, place)
        _check_kinds(description.params.get("units", {}), PARTS["units"], "params['units']", place)
        transform = description.params.get("units", {}).get("transform", "unknown")
        base = re.fullmatch(r"(?:log1p|counts|unknown|log([\d.]+(?:e\+\d+)?)\(1\+x\))", transform)
        if base is None or not 1 < float(base[1] or math.e) < math.inf:
            raise damaged(place, f"params['units'] has transform={transform[:80]!r}")
        donors = description.params.get("donors") or {}
        if not all(isinstance(name, str) for name in donors.values()):
            raise damaged(place, f"params has donors={str(donors)[:80]!r}")
        _check_recipe(description.recipe, place)
        _check_config(description, place)
        infinite = [name for part in ("architecture", "config") for name in _not_finite(getattr(description, part))]
        if infinite:
            raise damaged(place, f"{listed(infinite)} is NaN or infinite")


def require_read(description: Description, place: str) -> None:
    """Refuse a description that lacks what predictions read."""
    parts = {**vars(description), "units": description.params.get("units", {})}
    for names in (READ["any"], READ.get(description.method, {})):
        for part, needed in names.items():
            _require(parts[part], needed, part, place)
    recipe = description.recipe
    if "use_rep" not in recipe:
        _require(recipe, OF_PATCHES, "recipe", place)
    for made in recipe.get("features", []):
        _require(made, OF_FEATURES if made else (), "recipe['features']", place)


def _require(found: Mapping[str, Any], needed: tuple[str, ...], part: str, place: str) -> None:
    absent = [name for name in needed if name not in found]
    if absent:
        raise damaged(place, f"{listed(absent)} not found in its {part} (it has: {listed(found)})")


def _check_kinds(found: Mapping[str, Any], kinds: Mapping[str, Any], part: str, place: str) -> None:
    for name, kind in kinds.items():
        if name in found and not _is_a(found[name], kind):
            raise damaged(place, f"{part} has {name}={str(found[name])[:80]!r}")


def _is_a(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a kind; True is no number, and whole numbers are numbers."""
    allowed = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    plain = tuple(each for each in allowed if isinstance(each, type))
    if isinstance(value, bool):
        return bool in plain
    return isinstance(value, plain) or (float in plain and isinstance(value, int)) or len(plain) < len(allowed)


def _check_recipe(recipe: Mapping[str, Any], place: str) -> None:
    """Check a recipe of features or of patches; and of every kind of features what it is made by."""
    _check_kinds(recipe, PARTS["recipe"], "recipe", place)
    if "use_rep" in recipe:
        names, made = recipe["use_rep"], recipe.get("features")
        if not made or len(names) != len(made) or not all(isinstance(name, str) for name in names):
            raise damaged(place, f"recipe has {len(names)} features, made in {len(made or ())} ways")
    for made in recipe.get("features", []):
        if not isinstance(made, Mapping):
            raise damaged(place, f"recipe['features'] holds {type(made).__name__}")
        _check_kinds(made, PARTS["recipe"], "recipe['features']", place)


def _check_config(description: Description, place: str) -> None:
    """Check hyper-parameters as the class does that they are fields of; those of other versions are left alone."""
    kind = METHODS[description.method].load("config")
    if kind is None or not description.config:
        return
    known = {each.name for each in fields(kind)}
    own = {name: value for name, value in description.config.items() if name in known}
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
    _check_kinds(own, {name: each for name, each in get_type_hints(kind).items() if name in own}, "config", place)
    with undamaged(place, "config"):
        kind(**own)


def _not_finite(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            yield name
