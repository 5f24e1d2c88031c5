"""Finding the scan of a slide among the images in and beside its folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc import slides
from bleep_sc._adata.scan import CYTASSIST, SMALLER
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Size = NDArray[np.float64]

SUFFIXES = (".tif", ".tiff", ".btf", ".jpg", ".jpeg", ".png", ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".czi")
"""Of what may be a scan, in any case."""
DEEP = 3
"""Folders below the one that was given, at most, in which a scan is looked for."""
WITHOUT = ("binned_outputs", "segmented_outputs", "analysis", "filtered_feature_bc_matrix", "raw_feature_bc_matrix")
"""Folders of Space Ranger in which there is no scan."""


def find_scan(folder: Path, name: str, centers: NDArray[np.float64], expected: Size, within: float) -> Path:
    """Return the one image in or beside a folder that has the size of the scan, or say why there is none or several.

    ``expected`` is the width and height of the scan as the small images tell, give or take ``within``, all px; NaN
    where there is none, and then a scan is what all ``centers`` (x, y) lie in.
    """
    seen = {path: _size(path) for path in _images(folder, name)}
    fitting = [path for path, size in seen.items() if size is not None and fits(size, centers, expected, within)]
    own = [path for path in fitting if path.name.split(".")[0] == name]
    if len(fitting) == 1 or len(own) == 1:
        return own[0] if len(own) == 1 else fitting[0]
    ask = f"Pass it: image={{{name!r}: 'path'}} (on the command line --image {name}=FILE)."
    if fitting:
        raise ValueError(
            f"Which image is the scan of slide {name!r} is not clear: {listed(map(str, fitting))} are all of the size "
            f"of the scan. {ask}"
        )
    others = [
        f"{path.name} ({'not readable' if size is None else '{:.0f} × {:.0f} px'.format(*size)})"
        for path, size in seen.items()
    ]
    raise FileNotFoundError(
        f"No full-resolution image of slide {name!r} was found in {str(folder)!r} or beside it: it is "
        f"{_described(expected, centers)}{', as the small images tell' if np.isfinite(expected).all() else ''}"
        f"{'; there are ' + ', '.join(others[:5]) if others else ''}. It is the H&E that Space Ranger was given "
        f"(--image), neither tissue_hires_image.png nor the picture of the CytAssist. {ask}"
    )


def require_fitting(path: Path, name: str, centers: NDArray[np.float64], expected: Size, within: float) -> None:
    """Refuse an image that was given and has not the size of the scan."""
    with slides.open_slide(path) as slide:
        size = np.array([slide.width, slide.height], dtype=np.float64)
    if not np.isfinite(expected).all() or fits(size, centers, expected, within):
        return
    turned = (
        " Width and height are exchanged: it was turned."
        if fits(size[::-1], centers[:, ::-1], expected, within)
        else ""
    )
    raise ValueError(
        f"The image of slide {name!r} ({path.name}) is {size[0]:.0f} × {size[1]:.0f} px, but the scan is "
        f"{_described(expected, centers)}, as the small images beside the spots tell.{turned} Spots would lie "
        "elsewhere: pass the file that Space Ranger was given, as it was."
    )


def fits(size: Size, centers: NDArray[np.float64], expected: Size, within: float) -> bool:
    """Tell whether an image is as large as the scan."""
    if np.isfinite(expected).all():
        return bool((np.abs(size - expected) <= within).all())
    return bool((centers >= 0).all() and (centers < size).all())


def full_size(sizes_and_factors: list[tuple[tuple[int, int], float]]) -> tuple[Size, float]:
    """Return the size of the scan by the largest small image (width, height) and its factor, and how exact that is."""
    known = [(np.array(size) / factor, 1 + 1 / factor) for size, factor in sizes_and_factors if factor > 0]
    return min(known, key=lambda each: each[1], default=(np.full(2, np.nan), np.nan))


def _described(expected: Size, centers: NDArray[np.float64]) -> str:
    if np.isfinite(expected).all():
        return "{:.0f} × {:.0f} px".format(*expected)
    return "at least {:.0f} × {:.0f} px, where the last spots are".format(*centers.max(axis=0))


def _images(folder: Path, name: str) -> list[Path]:
    """Return the images that may be scans, in the folder, and beside it those of this slide."""
    inside = [path for path in _below(folder, DEEP) if path.suffix.lower() in SUFFIXES]
    above = folder.resolve().parent
    of_slide = folder.name == "outs"
    beside = [
        path
        for path in sorted(above.iterdir())
        if path.is_file() and path.suffix.lower() in SUFFIXES and (of_slide or path.name.split(".")[0] == name)
    ]
    return [path for path in [*inside, *beside] if not SMALLER.search(path.name) and not CYTASSIST.search(path.name)]


def _below(folder: Path, deep: int) -> list[Path]:
    """Return the files of a folder and of those in it, none of them hidden, nor of a store."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in WITHOUT:
            continue
        if path.is_file():
            found.append(path)
        elif path.is_dir() and deep and path.suffix != ".zarr":
            found += _below(path, deep - 1)
    return found


def _size(path: Path) -> Size | None:
    """Return width and height, px; None of what is no 8-bit RGB image, as fluorescence is not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with slides.open_slide(path) as slide:
                return np.array([slide.width, slide.height], dtype=np.float64)
    except (ValueError, OSError, ImportError):
        return None
