"""Spots with the slide of each and the place there, found once and handed on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import warn_of_glass
from bleep_sc._adata.libraries import libraries, library_column, written_libraries
from bleep_sc._adata.places import centers_px, centers_um, spatial_slot
from bleep_sc._adata.told import of_pictures, told
from bleep_sc._output.messages import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Spots:
    """The spots of a query or of a reference, as a model that reads them was told where slides and places are."""

    adata: AnnData
    library_key: str
    """Column of ``obs`` that names the slides."""
    slides: NDArray[np.str_]
    """Slide of every spot, (n_obs,)."""
    spatial_key: str
    """Key of the coordinates in ``obsm``."""
    pitch_um: float | None
    """Distance of neighbouring spots, µm, with which the model was fitted, where that was given."""

    @classmethod
    def of(cls, adata: AnnData, params: Mapping[str, Any]) -> Spots:
        """Find slides and places by the ``params`` of a model; earlier versions recorded ``library_key`` alone."""
        library_key = library_column(adata, None, params["library_key"])
        slides = libraries(adata, None, params["library_key"], required=False)
        spatial_key = spatial_slot(adata, None, params.get("spatial_key", keys.SPATIAL))
        return cls(adata, library_key, slides, spatial_key, params.get("pitch_um"))

    @classmethod
    def to_learn_on(cls, adata: AnnData, library_key: str | None) -> Spots:
        """Find slides and places as a call that fits a model was told, or earlier calls on ``adata`` were."""
        warn_of_glass(adata)
        return cls(
            adata,
            library_column(adata, library_key),
            written_libraries(adata, library_key),
            spatial_slot(adata),
            next(iter(told(of_pictures(adata), "pitch_um")), None),
        )

    @property
    def params(self) -> dict[str, Any]:
        """What a model is to record, for :meth:`of`."""
        return {"library_key": self.library_key, "spatial_key": self.spatial_key, "pitch_um": self.pitch_um}

    @property
    def named_slides(self) -> NDArray[np.str_]:
        """The slides, (n_obs,), or none of them, (0,), where nothing says what they are called."""
        is_named = self.library_key in self.adata.obs or len(self.adata.uns.get(keys.SPATIAL, {})) == 1
        return self.slides if is_named else self.slides[:0]

    def on_slides_of(self, other: Spots) -> NDArray[np.bool_]:
        """Return which spots are on a slide of another AnnData, by its name, (n_obs,)."""
        return np.isin(self.slides, other.named_slides) & (len(self.named_slides) > 0)

    @property
    def is_placed(self) -> bool:
        """Whether there are coordinates."""
        return self.spatial_key in self.adata.obsm

    @property
    def centers(self) -> NDArray[np.float64]:
        """(x, y) in full-resolution px, (n_obs, 2)."""
        return centers_px(self.adata, self.spatial_key)

    @cached_property
    def centers_um(self) -> NDArray[np.float64]:
        """(x, y) in µm, (n_obs, 2)."""
        return centers_um(self.adata, self.slides, self.centers, pitch_of_model=self.pitch_um)

    def known_centers_um(self, otherwise: str) -> NDArray[np.float64] | None:
        """Return the same where it is known; else None, and say in the log what is done without."""
        try:
            return self.centers_um
        except (KeyError, ValueError) as error:
            logger.info("Places in µm are not known, so that %s: %s", otherwise, error)
            return None


def note(adata: AnnData, library_key: str | None, spatial_key: str | None, pitch_um: float | None) -> dict[str, Any]:
    """Return what a call was told of slides and places, for ``uns``, where later calls read it back."""
    found = {"library_key": library_column(adata, library_key), "spatial_key": spatial_slot(adata, spatial_key)}
    given = {} if library_key is None else {"library_key_given": True}
    return {**found, **given} if pitch_um is None else {**found, **given, "pitch_um": float(pitch_um)}
