"""Slides as arrays: reading images, µm and px, patches. They have never heard of AnnData."""

from bleep_sc._output.arguments import check_calls_of
from bleep_sc.slides._affine import AffineFit, fit_landmarks
from bleep_sc.slides._cells import Cells, read_cells
from bleep_sc.slides._grid import grid, sharpness
from bleep_sc.slides._landmarks import read_landmarks
from bleep_sc.slides._lattice import microns_per_pixel
from bleep_sc.slides._open import open_slide
from bleep_sc.slides._patches import cut_patches, read_patches
from bleep_sc.slides._regions import label_points, read_regions, transform_points
from bleep_sc.slides._slide import Slide
from bleep_sc.slides._stains import fit_macenko, fit_reinhard, restain

__all__ = [
    "AffineFit",
    "Cells",
    "Slide",
    "cut_patches",
    "fit_landmarks",
    "fit_macenko",
    "fit_reinhard",
    "grid",
    "label_points",
    "microns_per_pixel",
    "open_slide",
    "read_cells",
    "read_landmarks",
    "read_patches",
    "read_regions",
    "restain",
    "sharpness",
    "transform_points",
]

check_calls_of(globals())
