"""Fit a method on slides whose expression is known as a whole: a table of bulk beside tiles."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.donors import donor_column, donors
from bleep_sc._adata.expression import require_one_unit_of_rows, units
from bleep_sc._adata.libraries import libraries, library_column, named
from bleep_sc._adata.places import centers_px, spatial_slot
from bleep_sc._adata.records import check_same_features
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.fit_method import fit_method
from bleep_sc.tl._models.in_uns import write_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.training.slide_pairs import Bag


def fit_slides(
    adata: AnnData,
    method: str,
    *,
    use_rep: str | Sequence[str],
    tiles: AnnData | Sequence[AnnData] | None = None,
    sample_key: str | None = None,
    layer: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    config: Any = None,
    key_added: str | None = None,
    random_state: int = 0,
    device: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Fit a method, and write it into ``uns[key_added]``; the arguments are those of :func:`bleep_sc.tl.fit_he2rna`."""
    from bleep_sc.models.fitted import Description, FittedModel
    from bleep_sc.models.methods import METHODS
    from bleep_sc.training.device import resolve_device
    from bleep_sc.training.slide_pairs import SlidePairs
    from bleep_sc.training.validation import units_to_hold_out

    how: dict[str, Any] = {"random_state": int(random_state), "device": device, "show_progress_bar": show_progress_bar}
    if tiles is None:
        if sample_key is not None:
            raise ValueError(
                f"sample_key={sample_key!r} names the rows of adata that tiles belong to, and there are none. Pass "
                "tiles=, or leave it out where adata holds spots."
            )
        given: dict[str, Any] = {"use_rep": use_rep, "layer": layer, "library_key": library_key, "donor_key": donor_key}
        return fit_method(adata, method, **given, config=config, key_added=key_added, copy=copy, **how)
    row, parts = METHODS[method], _parts(tiles)
    config = row.load("config")() if config is None else config
    values, genes = inputs.expression(adata, layer, None)
    require_one_unit_of_rows(adata, layer)
    reps = inputs.as_keys(use_rep)
    recipe = _recipe(parts, reps)
    bags, samples = _bags(parts, reps, library_key, sample_key)
    rows = _rows_of(adata, bags, samples, sample_key)
    if len(bags) > 1 and len(np.unique(rows)) == 1:
        raise ValueError(
            f"All {len(bags)} slides are of one sample, {samples[0]!r}, and so have one profile: what is learnt from "
            "slides as a whole is how they differ. Give tiles and rows of several samples."
        )
    own_donor_key = donor_column(adata, donor_key)
    of_rows = donors(adata, own_donor_key)
    of_samples = None if of_rows is None else dict(zip(adata.obs_names, of_rows.tolist(), strict=True))
    learnt = row.load("fit")(
        SlidePairs(bags, values[rows]),
        np.array([bag.name for bag in bags]),
        units=units_to_hold_out(np.array(samples), of_samples),
        config=config,
        **{**how, "device": resolve_device(device)},
    )
    params = {
        "layer": layer,
        "target_rep": None,
        "library_key": library_column(parts[0], library_key),
        "spatial_key": spatial_slot(parts[0]),
        "pitch_um": None,
        "donor_key": own_donor_key,
        "sample_key": sample_key,
        "is_bulk": True,
        "random_state": int(random_state),
        **learnt.params,
        "units": units(adata, layer),
    }
    description = Description(method, learnt.architecture, genes, recipe, asdict(config), params)
    adata = adata.copy() if copy else adata
    sizes = {bag.name: len(bag) for bag in bags}
    write_model(adata, key_added or method, FittedModel(learnt.module, description), sizes, learnt.history)
    return adata if copy else None


def _parts(tiles: AnnData | Sequence[AnnData]) -> list[AnnData]:
    """Return tiles as a list of AnnData."""
    parts = [tiles] if hasattr(tiles, "obsm") else list(tiles)
    if not parts:
        raise ValueError("tiles=[] is empty. Pass the tiles of the slides: one AnnData, or a list of them.")
    return parts


def _recipe(parts: list[AnnData], reps: list[str]) -> dict[str, Any]:
    """Return how the features of the tiles were made, or refuse parts whose features were not made alike."""
    recipe = inputs.features_recipe(parts[0], reps)
    for number, part in enumerate(parts):
        of_part = inputs.features_recipe(part, reps)["features"]
        for key, made, seen in zip(reps, recipe["features"], of_part, strict=True):
            values = require_obsm(part, key, "Run bleep_sc.pp.image_features(tiles), or pass another use_rep=.")
            width = parts[0].obsm[key].shape[1:]
            if len(values.shape) != 2 or values.shape[1:] != width:
                raise ValueError(
                    f"obsm[{key!r}] of tiles[{number}] has shape {values.shape}, and that of tiles[0] "
                    f"{parts[0].obsm[key].shape}; features are (n_tiles, n_features). Compute them alike."
                )
            check_same_features(seen, made, key)
    return recipe


def _bags(
    parts: list[AnnData], reps: list[str], library_key: str | None, sample_key: str | None
) -> tuple[list[Bag], list[str]]:
    """Return the tiles of every slide, and the sample that each slide is of: its own name, or as a column says."""
    from bleep_sc.training.slide_pairs import Bag

    bags: dict[str, Bag] = {}
    samples: list[str] = []
    for number, part in enumerate(parts):
        slides = libraries(part, library_key)
        of_tiles = slides if sample_key is None else named(part, sample_key)
        slot = spatial_slot(part)
        centers = centers_px(part, slot) if slot in part.obsm else None
        for name in np.unique(slides).tolist():
            rows = np.flatnonzero(slides == name)
            if name in bags:
                raise ValueError(
                    f"Slide {name!r} is in tiles[{number}] and in one before it. Name slides differently, in "
                    f"obs[{library_column(part, library_key)!r}], or put its tiles together: anndata.concat."
                )
            own = np.unique(of_tiles[rows]).tolist()
            if len(own) > 1:
                raise ValueError(
                    f"Slide {name!r} is of {len(own)} samples: obs[{sample_key!r}] of its tiles has {listed(own)}. "
                    "Name the parts as slides of their own (library_key=)."
                )
            placed = None if centers is None else centers[rows]
            bags[name] = Bag(name, [part.obsm[key] for key in reps], rows, placed)
            samples.append(own[0])
    return list(bags.values()), samples


def _rows_of(adata: AnnData, bags: list[Bag], samples: list[str], sample_key: str | None) -> NDArray[np.intp]:
    """Return the row of the table for every slide, or refuse names that do not match, both ways."""
    if not adata.obs_names.is_unique:
        raise ValueError("adata.obs_names, the samples, are not unique. Run adata.obs_names_make_unique() first.")
    rows: NDArray[np.intp] = adata.obs_names.get_indexer(samples)
    unknown = [sample for sample, row in zip(samples, rows, strict=True) if row < 0]
    bare = adata.obs_names.difference(samples)
    if unknown or len(bare):
        who = "slides" if sample_key is None else f"samples (obs[{sample_key!r}])"
        parts = [f"{len(unknown)} {who} of tiles= have no row in adata: {listed(unknown)}"] if unknown else []
        parts += [f"{len(bare)} rows of adata have no tiles: {listed(bare)}"] if len(bare) else []
        raise ValueError(
            f"tiles= and adata do not match. {'; '.join(parts)}. Rows are found by adata.obs_names: rename them, pass "
            "sample_key=, a column of tiles.obs with their names, or leave out what has no partner, such as "
            "adata[adata.obs_names.isin(tiles.obs['library_id'])]."
        )
    n_tiles = sum(map(len, bags))
    logger.info("%d slides with %s tiles, of %d rows of adata.", len(bags), f"{n_tiles:,}", adata.n_obs)
    return rows
