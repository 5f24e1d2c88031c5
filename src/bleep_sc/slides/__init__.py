"""Slides as arrays: reading images, µm and px, patches. They have never heard of AnnData."""

from bleep_sc.slides._align import Alignment, align
from bleep_sc.slides._lattice import PITCH_UM, Lattice, fit_lattice, microns_per_pixel
from bleep_sc.slides._patches import check_centers, cut_patches, off_slide
from bleep_sc.slides._read import as_rgb, read_image, read_preview

__all__ = [
    "PITCH_UM",
    "Alignment",
    "Lattice",
    "align",
    "as_rgb",
    "check_centers",
    "cut_patches",
    "fit_lattice",
    "microns_per_pixel",
    "off_slide",
    "read_image",
    "read_preview",
]
