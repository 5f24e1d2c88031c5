"""A slide as it was measured, and where it is moved to: onto another image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.libraries import one_slide, written_libraries
from bleep_sc._adata.places import centers_px, microns_per_pixel, spatial_slot, spot_diameter
from bleep_sc._adata.told import of_patches_in
from bleep_sc._adata.unregistered import as_measured, registration_of
from bleep_sc._output.messages import logger, warn
from bleep_sc.slides._affine import scale_of_matrix, stretch_of_matrix
from bleep_sc.slides._centers import check_centers
from bleep_sc.slides._slide import IN_MEMORY, absolute

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

THUMBNAIL = 2000
"""Longest side of the picture of the new image that is kept, px."""
SAME_SCALE, LARGEST_STRETCH = 0.05, 1.1
"""How far µm per px by the map may differ from what the image file says, and how much a section may be stretched."""


@dataclass(frozen=True)
class Measured:
    """One slide before it was registered, whether it is now or not."""

    adata: AnnData
    """Its spots alone, with the coordinates and the entry of ``uns["spatial"]`` that belong to the measured image."""
    name: str
    rows: NDArray[np.intp]
    """Its spots in the AnnData it is part of."""
    spatial_key: str
    centers: NDArray[np.float64]
    """(x, y), full-resolution px of the measured image, (n, 2)."""
    mpp: float
    """µm per px of that image; NaN where not known."""

    @classmethod
    def of(cls, adata: AnnData, library_id: str | None, library_key: str | None, spatial_key: str | None) -> Measured:
        """Find a slide; where it was registered before, as it was before that."""
        name, rows = one_slide(written_libraries(adata, library_key), library_id)
        _refuse_what_was_cut(adata, name)
        key, before = spatial_slot(adata, spatial_key), registration_of(adata, name)
        if before is not None and before["spatial_key"] != key:
            raise ValueError(
                f"Slide {name!r} was registered by spatial_key={before['spatial_key']!r}, not {key!r}. Take a copy of "
                "the AnnData as it was before, or the same key."
            )
        part = as_measured(adata, name, rows, key)
        centers = centers_px(part, keys.SPATIAL)
        if not np.isfinite(centers).all():
            raise ValueError(f"The coordinates of {name!r} in obsm[{key!r}] hold NaN or infinite values.")
        mpp, _ = microns_per_pixel(part, np.arange(len(rows)), centers, name)
        return cls(part, name, rows, key, centers, mpp)

    @property
    def record(self) -> dict[str, Any]:
        """Its entry in ``uns["spatial"]``; empty without one."""
        return dict(self.adata.uns[keys.SPATIAL][self.name])

    @property
    def spot_px(self) -> float:
        """Diameter of its spots, px of the measured image."""
        return spot_diameter(self.adata, self.name, self.centers)


@contextmanager
def measured_and(
    image: Any, adata: AnnData, library_id: str | None, library_key: str | None, spatial_key: str | None
) -> Iterator[tuple[Measured, slides.Slide]]:
    """Give a slide as it was measured, and the image that it is laid on, open."""
    with slides.open_slide(image) as slide:
        yield Measured.of(adata, library_id, library_key, spatial_key), slide


def _refuse_what_was_cut(adata: AnnData, name: str) -> None:
    """Refuse a slide with patches of the image that is to be left; features are made of them."""
    patches = [key for key, entry in adata.uns.items() if of_patches_in(entry, name)]
    if patches:
        entries = {key: entry for key, entry in adata.uns.items() if isinstance(entry, Mapping)}
        features = [key for key, entry in entries.items() if "patches_key" in entry or "context_of" in entry]
        raise ValueError(
            f"uns[{patches[0]!r}] says that patches of slide {name!r} were cut: they show the image before. Register "
            f"first, then cut; or remove what was made: for key in {patches + features!r}: adata.uns.pop(key), "
            "adata.obsm.pop(key, None)."
        )


def move_onto(
    adata: AnnData,
    measured: Measured,
    slide: slides.Slide,
    matrix: NDArray[np.float64],
    mpp: float | None,
    record: dict[str, Any],
) -> None:
    """Move a slide of an AnnData onto a new image by a map (3, 3), or refuse what leaves it; and write how.

    ``record`` is what is known of the map beyond it.
    """
    places = slides.transform_points(measured.centers, matrix)
    check_centers((slide.height, slide.width), places, few_may_leave=True)
    if leaving := int(((places < 0) | (places >= (slide.width, slide.height))).any(axis=1).sum()):
        warn(
            f"{leaving} of {len(places)} spots of slide {measured.name!r} lie outside the new image. Where it shows "
            "less of the section, pass pad='drop' when patches are cut; else look at bleep_sc.pl.registration."
        )
    scale, source = _resolution(measured, slide, matrix, mpp)
    thumbnail = slide.thumbnail(THUMBNAIL)
    key, before = measured.spatial_key, keys.unregistered(measured.spatial_key)
    moved = centers_px(adata, key).copy()
    kept = centers_px(adata, before).copy() if before in adata.obsm else moved.copy()
    kept[measured.rows], moved[measured.rows] = measured.centers, places
    entry = {
        "matrix": np.asarray(matrix, dtype=np.float64),
        "reflection": bool(np.linalg.det(matrix[:2, :2]) < 0),
        "image": absolute(slide.name),
        "mpp": scale,
        "mpp_source": source,
        "spatial_key": key,
        **record,
        "unregistered": measured.record,
    }
    new = _library(measured, slide, thumbnail, scale_of_matrix(matrix), scale)
    with all_or_nothing(adata):
        adata.obsm[key], adata.obsm[before] = moved, kept
        adata.uns[keys.SPATIAL] = {**adata.uns.get(keys.SPATIAL, {}), measured.name: new}
        adata.uns[keys.REGISTRATION] = {**adata.uns.get(keys.REGISTRATION, {}), measured.name: entry}
    _log(measured.name, slide, entry)


def _resolution(
    measured: Measured, slide: slides.Slide, matrix: NDArray[np.float64], mpp: float | None
) -> tuple[float, str]:
    """Return µm per px of the new image and how they are known; warn where the map says something else."""
    by_map = measured.mpp / scale_of_matrix(matrix)
    said, source = (slide.mpp, slide.mpp_source) if mpp is None else (float(mpp), "given")
    stretch = stretch_of_matrix(matrix)
    if stretch > LARGEST_STRETCH:
        warn(
            f"The map stretches slide {measured.name!r} by {stretch:.3g} in one direction, more than sections are. "
            "Look at the landmarks (bleep_sc.pl.registration), or pass model='similarity'."
        )
    if np.isnan(said):
        return by_map, "the map"
    if abs(by_map / said - 1) > SAME_SCALE:
        warn(
            f"By the map the new image of slide {measured.name!r} measures {by_map:.4g} µm per px, since the measured "
            f"one has {measured.mpp:.4g}; but it has {said:.4g} ({source}). One of the two is wrong, or the map is: "
            "look at bleep_sc.pl.registration, and pass mpp= where the image file is wrong."
        )
    return said, source


def _library(
    measured: Measured, slide: slides.Slide, thumbnail: NDArray[np.uint8], scale: float, mpp: float
) -> dict[str, Any]:
    """Return the entry of ``uns["spatial"]`` of the new image; lengths in px are scaled, and the rest is kept."""
    factors = {
        name: float(value) * (scale if name.endswith("_fullres") else 1)
        for name, value in measured.record.get("scalefactors", {}).items()
        if not name.endswith("_scalef") and name != "microns_per_pixel"
    }
    factors |= {"tissue_hires_scalef": thumbnail.shape[1] / slide.width}
    factors |= {"spot_diameter_fullres": measured.spot_px * scale}
    if np.isfinite(mpp):
        factors["microns_per_pixel"] = mpp
    path = absolute(slide.name)
    metadata = {**measured.record.get("metadata", {}), "source_image_path": path if path != IN_MEMORY else ""}
    return {"images": {"hires": thumbnail}, "scalefactors": factors, "metadata": metadata}


def _log(name: str, slide: slides.Slide, entry: dict[str, Any]) -> None:
    matrix, mirrored = entry["matrix"], entry["reflection"]
    angle = np.degrees(np.arctan2(matrix[1, 0], -matrix[0, 0] if mirrored else matrix[0, 0]))
    said = f"{entry['n_landmarks']} landmarks, {_residual(entry)}" if "n_landmarks" in entry else "no landmarks"
    logger.info(
        "%s lies on %s: 1 px is %.4g px there, turned by %.1f°%s (%s; %s).",
        name,
        Path(slide.name).name,
        scale_of_matrix(matrix),
        angle,
        ", mirrored" if mirrored else "",
        entry["by"],
        said,
    )


def _residual(entry: dict[str, Any]) -> str:
    """Say how far landmarks are off, in µm where these are known."""
    unit, scale = ("µm", entry["mpp"]) if np.isfinite(entry["mpp"]) else ("px", 1.0)
    text = f"residual {entry['rms_px'] * scale:.1f} {unit}"
    return text if np.isnan(entry["left_out_rms_px"]) else f"{text}, left out {entry['left_out_rms_px'] * scale:.1f}"
