"""What the tiles of a slide show: the patches that a reference was trained on, cut when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.patches import patches_of
from bleep_sc._output.damage import from_json
from bleep_sc.pp._stains import stains_of, with_stains
from bleep_sc.slides._patches import coarsest_level
from bleep_sc.slides._slide import IN_MEMORY, absolute
from bleep_sc.slides._stains import stains_from

if TYPE_CHECKING:
    from anndata import AnnData


def patch_recipes(ref: AnnData | None, key: str, size: int, size_um: float | None) -> dict[str, dict[str, Any]]:
    """Return what patches are by their key: those that the model in the reference was trained on, or as given.

    µm are NaN where a patch is a number of px of the full resolution.
    """
    if ref is None:
        own = {"size": size, "size_um": float("nan") if size_um is None else size_um, "full_resolution": False}
        return {keys.PATCHES: own}
    recipe = from_json(require_model(ref, key)["recipe"], f"uns[{key!r}]", "recipe")
    made = recipe.get("features", [recipe])
    if not all(each.get("patches_key") for each in made):  # features of other software
        return patch_recipes(None, key, size, size_um)
    return {each["patches_key"]: each for each in made}


def give_patches(
    tiles: AnnData,
    patches_key: str,
    name: str,
    recipe: dict[str, Any],
    slide: slides.Slide,
    scale: float,
    scale_source: str,
    *,
    full_resolution: bool | None,
) -> None:
    """Record how the patches of the tiles are cut when they are needed; cut those of an image in memory."""
    px, um = int(recipe["size"]), float(recipe["size_um"])
    side = px if not np.isfinite(um) else max(1, round(um / scale))
    record = {"size": px, "side_px": side, "size_um": side * scale, "mpp": scale, "mpp_source": scale_source}
    if full_resolution is None:
        full_resolution = bool(recipe.get("full_resolution", True))  # before there was a choice
    level = 0 if full_resolution else coarsest_level(slide, side, px)
    read = {"level": level, "full_resolution": full_resolution}
    rest = {"pad": "reflect", **read, "image": absolute(slide.name), "store": ""}
    named = {"library_key": keys.LIBRARY, "spatial_key": keys.SPATIAL}
    tiles.uns[patches_key] = {name: {**record, **rest, **named}}
    if slide.name == IN_MEMORY:
        tiles.obsm[patches_key] = slides.cut_patches(slide, tiles.obsm[keys.SPATIAL], side=side, size=px, level=level)
    if "stains" in recipe:
        _give_stains(tiles, patches_key, name, recipe)


def _give_stains(tiles: AnnData, patches_key: str, name: str, recipe: dict[str, Any]) -> None:
    """Carry the patches to the stains that the reference's have, as ``pp.normalize_stains`` does."""
    patches, record = patches_of(tiles, patches_key), tiles.uns[patches_key][name]
    own = stains_of(patches, np.full(tiles.n_obs, name), recipe["stains"])[name]
    stains = {"stains": recipe["stains"], "stains_own": own.numbers()}
    tiles.uns[patches_key][name] = {**record, **stains, "stain_target": np.asarray(recipe["stain_target"])}
    if isinstance(patches, np.ndarray):
        target = stains_from(recipe["stains"], recipe["stain_target"])
        tiles.obsm[patches_key] = with_stains(patches, np.zeros(tiles.n_obs, dtype=np.intp), [own], target)
