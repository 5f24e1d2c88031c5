"""How patches and features were made, as noted in `uns`, and whether those of a query were made alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.told import of_patches_in, told
from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData


SAME_FIELD = 0.05
"""How far what patches show, µm, may differ."""


def names_hash(names: Iterable[str]) -> str:
    """Hash of an ordered list of names."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def patch_recipe(adata: AnnData, patches_key: str) -> dict[str, Any]:
    """How the patches of all slides were cut: key, side in px, mean side in µm (NaN where not known), and from what."""
    slides = adata.uns.get(patches_key, {})
    sides = fields_of_view(adata, patches_key)
    return {
        "patches_key": patches_key,
        "size": _size(adata, patches_key, slides),
        "size_um": _mean(sides),
        "full_resolution": _at_full_resolution(slides),
        **_mixed(sides),
        **stain_recipe(adata, patches_key),
    }


def _at_full_resolution(slides: dict[str, Any]) -> bool:
    """Tell whether all slides were read at full resolution: because that was asked for, or there was no choice yet."""
    read = [bool(record.get("full_resolution", "level" not in record)) for record in of_patches_in(slides)]
    return bool(read) and all(read)


def fields_of_view(adata: AnnData, patches_key: str) -> dict[str, float]:
    """Return how many µm the patches of every slide show that is there, where that is known."""
    sides = _recorded(adata, patches_key)
    own = told(of_patches_in(adata.uns.get(patches_key, {})), "library_key")
    # A part of a cut-up AnnData still has the records of all slides.
    present = set(libraries(adata, None, *own, required=False).tolist()) if sides else set()
    chosen = present & set(sides) or set(sides)
    return {name: side for name, side in sides.items() if name in chosen and np.isfinite(side)}


def _recorded(adata: AnnData, patches_key: str) -> dict[str, float]:
    """Return how many µm the patches of every slide show that has a record, whether it is there or not."""
    slides = adata.uns.get(patches_key, {})
    return {str(name): float(slide["size_um"]) for name, slide in slides.items() if of_patches_in(slides, name)}


def _mean(sides: dict[str, float]) -> float:
    return float(np.mean(list(sides.values()))) if sides else float("nan")


def _mixed(sides: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return what patches show of two slides that differ in it, for their recipe; nothing where all show the same."""
    if not differ(sides):
        return {}
    names = sorted(sides, key=lambda name: sides[name])
    return {"differing_um": {name: sides[name] for name in (names[0], names[-1])}}


def differ(sides: dict[str, float]) -> bool:
    """Tell whether fields of view differ by more than can be rounding."""
    known = [side for side in sides.values() if np.isfinite(side)]
    return bool(known) and max(known) > (1 + SAME_FIELD) * min(known)


def require_one_field(recipe: dict[str, Any], what: str) -> None:
    """Refuse patches that show more tissue on one slide than on another, or features that were made of such."""
    if "differing_um" in recipe:
        shown = " and ".join(f"{side:.0f} µm on slide {name!r}" for name, side in recipe["differing_um"].items())
        raise ValueError(
            f"{what} show {shown}: tissue at two magnifications. Cut all slides alike, "
            f"bleep_sc.pp.extract_patches(adata, ..., size_um={max(recipe['differing_um'].values()):.0f}), and compute "
            "features again."
        )


def stain_recipe(adata: AnnData, patches_key: str) -> dict[str, Any]:
    """To which stains patches were carried: ``stains``, the method, and ``stain_target``; empty without any."""
    targets = {
        name: (record["stains"], np.asarray(record["stain_target"]).tolist()) if "stains" in record else None
        for name, record in adata.uns.get(patches_key, {}).items()
    }
    several = {str(target): name for name, target in targets.items()}
    if len(several) > 1:
        raise ValueError(
            f"uns[{patches_key!r}] says that the stains of slides {' and '.join(map(repr, several.values()))} were "
            "normalised differently. Run bleep_sc.pp.normalize_stains on all of them together, or with the same ref=."
        )
    target = next(iter(targets.values()), None)
    return {} if target is None else {"stains": str(target[0]), "stain_target": target[1]}


def _size(adata: AnnData, patches_key: str, slides: dict[str, Any]) -> int:
    """Return the side of the patches, px: of those that are there, or of those that are to be cut."""
    if patches_key in adata.obsm:
        return int(adata.obsm[patches_key].shape[1])
    if not slides:
        require_obsm(adata, patches_key, "Run bleep_sc.pp.extract_patches(adata) first.")
    return int(next(iter(slides.values()))["size"])


def feature_recipe(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """How features were made: the recipe that ``pp.image_features`` wrote, plain; empty for features made elsewhere."""
    record = adata.uns.get(use_rep, {})
    if not isinstance(record, Mapping) or "fingerprint" not in record:  # of other software, under the same name
        return {}
    plain = (np.generic, np.ndarray)
    recipe = {key: value.tolist() if isinstance(value, plain) else value for key, value in record.items()}
    if lost := [name for name in ("symmetries", "patches_key", "size") if name not in recipe]:
        raise ValueError(
            f"uns[{use_rep!r}] has lost {listed(lost)}, as where slides were concatenated whose features were not made "
            "alike. Cut the patches of all slides with the same size= and size_um=, and compute features again."
        )
    # Slides that were cut one by one and concatenated have one recipe of features, and their own records of patches.
    if "size_um" in recipe and not differ(_recorded(adata, recipe["patches_key"])):
        return recipe
    sides = fields_of_view(adata, recipe["patches_key"])
    return {"size_um": _mean(sides), **recipe, **_mixed(sides)}


def read_recipe(encoder: str, size: int, sides: dict[str, float]) -> dict[str, Any]:
    """Return the recipe of features that other software made of patches of ``size`` px, which show ``sides`` µm."""
    known = {name: side for name, side in sides.items() if np.isfinite(side)}
    made = {"encoder": encoder, "fingerprint": "", "symmetries": False, "patches_key": ""}
    return {**made, "size": size, "size_um": _mean(known), **_mixed(known)}


def check_same_patches(seen: dict[str, Any], trained: dict[str, Any]) -> None:
    """Refuse patches that show another field of view than those that a model was trained on."""
    if seen["size"] != trained["size"]:
        raise ValueError(
            f"The patches are {seen['size']} px wide, but the model was trained on {trained['size']} px. "
            f"Cut them with bleep_sc.pp.extract_patches(..., size={trained['size']}, ...)."
        )
    require_one_field(seen, "The patches")
    side, expected = seen["size_um"], trained["size_um"]
    if np.isfinite(side) and np.isfinite(expected) and abs(side / expected - 1) > SAME_FIELD:
        raise ValueError(
            f"The patches show {side:.0f} µm of tissue, but the model was trained on {expected:.0f} µm. "
            f"Cut them with bleep_sc.pp.extract_patches(..., size_um={expected:.0f})."
        )
    if _stains(seen) != _stains(trained):
        call = "those that bleep_sc.pp.normalize_stains(adata, ref=adata_ref) makes"
        raise ValueError(
            f"The query's patches have {_stains(seen)}, but the model was trained on patches with {_stains(trained)}. "
            f"Take {call if trained.get('stains') else 'patches as they are'}, and compute features again."
        )


def _stains(recipe: dict[str, Any]) -> str:
    if not recipe.get("stains"):
        return "their own stains"
    target = ", ".join(f"{number:.4g}" for number in recipe["stain_target"])
    return f"stains normalised by {recipe['stains']} to ({target})"


def check_same_features(seen: dict[str, Any], trained: dict[str, Any], use_rep: str) -> None:
    """Refuse features that another encoder made, or the same one from other patches."""
    if not seen or not trained:
        return
    if not (_are_of_one_encoder(seen, trained) and seen["symmetries"] == trained["symmetries"]):
        raise ValueError(
            f"obsm[{use_rep!r}] was computed by another encoder than the model was trained on (encoder "
            f"{seen['encoder'] or 'module'!r} against {trained['encoder'] or 'module'!r}, "
            f"symmetries={seen['symmetries']} "
            f"against {trained['symmetries']}). Compute it with bleep_sc.pp.image_features as for the reference."
        )
    if seen.get("genes") != trained.get("genes"):
        raise ValueError(
            f"obsm[{use_rep!r}] holds predictions of other genes, or in another order, than the model was trained on. "
            f"Predict the same ones: bleep_sc.pp.prediction_features(adata, layer, {trained['encoder']!r}), with the "
            "genes of the reference in adata.var_names."
        )
    if bool(seen["fingerprint"]) != bool(trained["fingerprint"]):
        logger.warning(
            "obsm[%r]: features that were read from a file are compared with computed ones by the encoder's name "
            "alone, %r; its weights, pooling and normalisation cannot be.",
            *(use_rep, seen["encoder"]),
        )
    if any(seen.get(name) != trained.get(name) for name in ("radius_um", "sub_tiles", "neighbors_um")):
        call = "multi_tile_features" if "sub_tiles" in trained else "spatial_context"
        raise ValueError(
            f"obsm[{use_rep!r}] describes {_surroundings(seen)}, but the model was trained on "
            f"{_surroundings(trained)}. Compute it as for the reference: bleep_sc.pp.{call}."
        )
    check_same_patches(seen, trained)


def _are_of_one_encoder(seen: dict[str, Any], trained: dict[str, Any]) -> bool:
    """Tell whether features have one maker: by its weights, or by its name where features were read from a file."""
    if seen["fingerprint"] and trained["fingerprint"]:
        return bool(seen["fingerprint"] == trained["fingerprint"])
    return bool(seen["encoder"]) and seen["encoder"] == trained["encoder"]


def _surroundings(recipe: dict[str, Any]) -> str:
    if "sub_tiles" in recipe:
        n = recipe["sub_tiles"]
        return f"patches, {n} × {n} parts of each and the patches within {recipe['neighbors_um']:g} µm"
    return f"the tissue within {recipe['radius_um']:g} µm" if "radius_um" in recipe else "the patch of every spot alone"
