"""Fit any method of :data:`bleep_sc.models.methods.METHODS` that is trained on arrays."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys, logs
from bleep_sc._adata.donors import donor_column, donors_of_slides
from bleep_sc._adata.expression import require_one_unit, units
from bleep_sc._adata.spots import Spots
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import write_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.slide_pairs import SlidePairs


def fit_method(
    adata: AnnData,
    method: str,
    *,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    encoder: str | nn.Module | None = None,
    layer: str | None = None,
    target_rep: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    config: Any = None,
    key_added: str | None = None,
    random_state: int = 0,
    device: str | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Fit a method, and write it into ``uns[key_added]``; the arguments are those of :func:`bleep_sc.tl.fit_stnet`."""
    from bleep_sc.models.fitted import Description, FittedModel
    from bleep_sc.models.methods import METHODS
    from bleep_sc.training.device import resolve_device
    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.validation import units_to_hold_out

    row, random_state = METHODS[method], int(random_state)
    kind = row.load("config")
    config = kind() if config is None and kind is not None else config
    values, genes = inputs.expression(adata, layer, target_rep)
    spots = Spots.to_learn_on(adata, library_key)
    if target_rep is None:
        require_one_unit(adata, layer, spots.slides)
    if row.images == "pixels":
        images, recipe, network = *inputs.pixels(adata, patches_key), None
    else:
        images, recipe, network = inputs.training_images(
            adata, use_rep, patches_key, encoder, trained=True, default=row.encoder
        )
    own_donor_key, meaning = donor_column(adata, donor_key), units(adata, layer, target_rep)
    units_held_out = units_to_hold_out(spots.slides, donors_of_slides(adata, spots.slides, own_donor_key))
    how: dict[str, Any] = {
        "units": units_held_out,
        "config": config,
        "encoder": network,
        "random_state": random_state,
    }
    pairs: Any = Pairs(images, values)
    slides = spots.slides
    if row.of_slides:
        pairs, slides, how["units"] = _whole_slides(pairs, spots, units_held_out, logs.base_of(meaning["transform"]))
    if row.in_sections:
        how["positions"] = inputs.array_positions(adata)
    if row.with_neighbors:
        how["centers"] = spots.centers
    if row.in_counts:
        how["counts"] = inputs.raw_counts(adata, genes)
    learnt = row.load("fit")(
        pairs,
        slides,
        device=resolve_device(device),
        show_progress_bar=show_progress_bar,
        **how,
    )
    params = {
        **(inputs.variant(recipe, network) if row.images == "any" else {}),
        "layer": layer,
        "target_rep": target_rep,
        **spots.params,
        "donor_key": own_donor_key,
        "random_state": random_state,
        **learnt.params,
        "units": meaning,
    }
    trained = {} if network is None else {"encoder": network.name}
    settings = {} if config is None else asdict(config)
    description = Description(method, {**learnt.architecture, **trained}, genes, recipe, settings, params)
    adata = adata.copy() if copy else adata
    write_model(adata, key_added or method, FittedModel(learnt.module, description), spots.slides, learnt.history)
    return adata if copy else None


def _whole_slides(
    pairs: Pairs, spots: Spots, units_held_out: NDArray[np.str_], base: float | None
) -> tuple[SlidePairs, NDArray[np.str_], NDArray[np.str_]]:
    """Return slides as a whole, their names and what each is held out with, (n_slides,), of spots."""
    from bleep_sc.training.slide_pairs import slides_of_spots

    names, first = np.unique(spots.slides, return_index=True)
    centers = spots.centers if spots.is_placed else None
    whole = slides_of_spots(pairs, spots.slides, base=np.e if base is None else base, centers=centers)
    return whole, names, units_held_out[first]
