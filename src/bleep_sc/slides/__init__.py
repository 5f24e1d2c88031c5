"""Slides as arrays: reading images, µm and px, patches. They have never heard of AnnData."""

from bleep_sc.slides._align import Alignment, align
from bleep_sc.slides._centers import check_centers
from bleep_sc.slides._context import average_around
from bleep_sc.slides._grid import covered, grid, sharpness
from bleep_sc.slides._lattice import PITCH_UM, Lattice, fit_lattice, microns_per_pixel
from bleep_sc.slides._lazy import ComputedPatches, CutPatches, RestainedPatches, StoredPatches
from bleep_sc.slides._open import open_slide
from bleep_sc.slides._patches import cut_patches, off_slide, read_patches, reading_order
from bleep_sc.slides._regions import Region, label_points, read_regions, transform_points
from bleep_sc.slides._rgb import as_rgb
from bleep_sc.slides._slide import IN_MEMORY, Level, Slide, absolute
from bleep_sc.slides._stains import (
    FITS,
    MacenkoStains,
    ReinhardStains,
    Stains,
    average_stains,
    fit_macenko,
    fit_reinhard,
    restain,
    sample_pixels,
    stains_from,
)
from bleep_sc.slides._store import recipe_hash, write_store

__all__ = [
    "FITS",
    "IN_MEMORY",
    "PITCH_UM",
    "Alignment",
    "ComputedPatches",
    "CutPatches",
    "Lattice",
    "Level",
    "MacenkoStains",
    "Region",
    "ReinhardStains",
    "RestainedPatches",
    "Slide",
    "Stains",
    "StoredPatches",
    "absolute",
    "align",
    "as_rgb",
    "average_around",
    "average_stains",
    "check_centers",
    "covered",
    "cut_patches",
    "fit_lattice",
    "fit_macenko",
    "fit_reinhard",
    "grid",
    "label_points",
    "microns_per_pixel",
    "off_slide",
    "open_slide",
    "read_patches",
    "read_regions",
    "reading_order",
    "recipe_hash",
    "restain",
    "sample_pixels",
    "sharpness",
    "stains_from",
    "transform_points",
    "write_store",
]
