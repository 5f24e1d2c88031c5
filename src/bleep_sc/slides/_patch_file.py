"""Patches that other software cut, as HDF5 files of TRIDENT and CLAM name them: where they are, and their features.

``coords`` are upper left corners in px of the full resolution; its attributes say how large a patch is, of TRIDENT at
the full resolution (``patch_size_level0``), of CLAM at a level (``patch_size``, ``downsample``). CLAM's files of
features have none of them; its files of coordinates do.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import h5py
    from numpy.typing import NDArray

KINDS = "TRIDENT and CLAM write 'coords', and 'features' beside them"


@dataclass(frozen=True)
class PatchFile:
    """Where patches are, px of the full resolution."""

    path: str
    corners: NDArray[np.float64]
    """Upper left, (n, 2)."""
    side_px: float | None
    """Side of a patch; None where the file does not say it."""
    size: int | None
    """Side to which patches were scaled, px, before an encoder saw them; None where the file does not say it."""

    def centers(self, side_px: float | None = None) -> NDArray[np.float64]:
        """Return the centres around which the same patches are cut, (n, 2), if need be by a side that is given."""
        side = self.side_px if side_px is None else side_px
        if side is None:
            raise ValueError(
                f"{self.path!r} names corners of patches, and not their side, as CLAM's files of features do. Pass "
                "side_px=, in px of the full resolution (256 for CLAM's patches of 256 px of level 0), or CLAM's file "
                "of coordinates (patches/SLIDE.h5), which says it, where no features are needed."
            )
        return self.corners + round(side) // 2  # of an odd side the px in the middle


def read_patch_file(path: str | Path) -> PatchFile:
    """Read where the patches of a file are."""
    with _opened(path) as file:
        coords = _table(file, "coords", path)
        attributes = file["coords"].attrs
        corners = np.asarray(coords, dtype=np.float64)
        size, side = _number(attributes, "patch_size"), _side(attributes)
    if corners.shape[1] < 2 or not len(corners):
        raise ValueError(
            f"'coords' of {str(path)!r} has shape {corners.shape}; it must be (n, 2), x and y, n at least 1."
        )
    return PatchFile(str(path), corners[:, :2], side, None if size is None else round(size))


def read_patch_features(path: str | Path) -> NDArray[np.float32]:
    """Read the features of the patches of a file, (n, d), in the order of its coordinates."""
    with _opened(path) as file:
        features = np.asarray(_table(file, "features", path), dtype=np.float32)
        n = len(_table(file, "coords", path))
    if len(features) != n:
        raise ValueError(
            f"{str(path)!r} has features of {len(features)} patches, and coordinates of {n}. Compute it again."
        )
    if not np.isfinite(features).all():
        raise ValueError(f"The features of {str(path)!r} hold NaN or infinite values. Compute them again.")
    return features


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    import h5py

    if not Path(path).is_file():
        raise FileNotFoundError(f"{str(path)!r} not found. Pass the HDF5 file of a slide: {KINDS}.")
    if not h5py.is_hdf5(path):
        hint = (
            " Files of torch (.pt) have no coordinates: take the .h5 beside it." if Path(path).suffix == ".pt" else ""
        )
        raise ValueError(f"{str(path)!r} is no HDF5 file; {KINDS}.{hint} Pass such a file.")
    with h5py.File(path, "r") as file:
        yield file


def _table(file: h5py.File, name: str, path: str | Path) -> Any:
    """Return a dataset (n, d), or what is in one of (1, n, d)."""
    if name not in file or not hasattr(file[name], "shape"):
        raise KeyError(f"{name!r} not found in {str(path)!r} (it has: {listed(file)}). {KINDS}: pass such a file.")
    table = file[name][...]
    table = table[0] if table.ndim == 3 and len(table) == 1 else table
    if table.ndim != 2 or table.dtype.kind not in "iuf":
        raise ValueError(
            f"{name!r} of {str(path)!r} has shape {table.shape}; it must be (n, d) numbers, a row a patch."
        )
    return table


def _side(attributes: Mapping[str, Any]) -> float | None:
    """Return the side of a patch, px of the full resolution, as TRIDENT or CLAM says it."""
    whole, size = _number(attributes, "patch_size_level0"), _number(attributes, "patch_size")
    if whole is not None or size is None:
        return whole
    shrunk = _number(attributes, "downsample")
    if shrunk is None:
        shrunk = 1.0 if _number(attributes, "patch_level") == 0 else None
    return None if shrunk is None else size * shrunk * (_number(attributes, "custom_downsample") or 1.0)


def _number(attributes: Mapping[str, Any], name: str) -> float | None:
    """Return an attribute that is a positive number, or the first of several; None where there is none such."""
    value = np.ravel(attributes.get(name, np.nan))[0]
    try:
        number = float(value)
    except ValueError:  # TRIDENT writes 'None' for what it does not know
        return None
    return number if np.isfinite(number) and (number > 0 or name == "patch_level") else None
