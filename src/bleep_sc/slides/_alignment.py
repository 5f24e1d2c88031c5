"""How an image lies on what an instrument measured, as its software wrote it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

XENIUM_UM = 0.2125
"""µm per px of the morphology images of Xenium."""
SPOT_COLUMNS = {"row": "array_row", "col": "array_col", "imageX": "x", "imageY": "y"}
"""What a spot of an alignment file of 10x says of itself, and what that is called in AnnData."""


@dataclass(frozen=True)
class Alignment:
    """The alignment of an image by Space Ranger or Loupe Browser: JSON with ``serialNumber``, ``area`` and the rest."""

    serial_number: str
    """The slide, and its capture area."""
    onto_cytassist: NDArray[np.float64] | None
    """(3, 3), from px of the image to px of the picture of the CytAssist; None where that is the image itself."""
    cytassist_per_um: float
    """Px of the picture of the CytAssist per µm; NaN where the file does not say it."""
    spots: pd.DataFrame | None
    """``array_row``, ``array_col``, and ``x`` and ``y`` in px of the image, of every spot; None for Visium HD."""


def read_alignment(path: Path) -> Alignment:
    """Read an alignment file of 10x.

    ``cytAssistInfo.transformImages`` takes px of the image to px of the picture of the CytAssist, ``transform`` takes
    µm of the slide there, and ``oligo`` lists the spots by row and column, in px of the picture that was aligned: of
    the CytAssist's, where there is one.
    """
    content = _load(path)
    info = content.get("cytAssistInfo") or {}
    onto = _square(info["transformImages"], path) if "transformImages" in info else None
    spots = _spots(content.get("oligo"), onto, path)
    if onto is None and spots is None:
        raise ValueError(
            f"{str(path)!r} is no alignment of 10x: it has neither cytAssistInfo.transformImages nor oligo (it has: "
            f"{listed(content)}). Pass the JSON that Loupe Browser or Space Ranger saved."
        )
    per_um = float("nan")
    if "transform" in content and onto is not None:
        per_um = float(np.sqrt(abs(np.linalg.det(_square(content["transform"], path)[:2, :2]))))
    name = "-".join(str(content.get(field) or "?") for field in ("serialNumber", "area"))
    return Alignment(name, onto, per_um, spots)


def read_xenium_alignment(path: Path) -> NDArray[np.float64]:
    """Return what takes µm of Xenium to px of the image, (3, 3).

    The file that Xenium Explorer exports, ``*imagealignment.csv``, has three rows of three numbers, which take px of
    the image to px of the morphology image.
    """
    try:
        matrix = pd.read_csv(path, header=None).to_numpy(dtype=np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} holds no three rows of three numbers ({error}).") from error
    return np.asarray(np.linalg.inv(_square(matrix, path)) @ np.diag([1 / XENIUM_UM, 1 / XENIUM_UM, 1.0]))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} is no alignment of 10x: it holds a {type(content).__name__}.")
    return content


def _square(values: Any, path: Path) -> NDArray[np.float64]:
    """Return nine numbers as a map of the plane, (3, 3)."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.size != 9 or not np.isfinite(matrix).all() or np.linalg.det(matrix.reshape(3, 3)) == 0:
        raise ValueError(f"{str(path)!r} holds a matrix of shape {matrix.shape}, or one that cannot be inverted.")
    return matrix.reshape(3, 3) / matrix.reshape(3, 3)[2, 2]


def _spots(oligo: Any, onto: NDArray[np.float64] | None, path: Path) -> pd.DataFrame | None:
    if not oligo:
        return None
    table = pd.DataFrame(oligo)
    if missing := [column for column in SPOT_COLUMNS if column not in table]:
        raise ValueError(f"{str(path)!r} has spots (oligo) without {listed(missing)}.")
    spots = table[list(SPOT_COLUMNS)].rename(columns=SPOT_COLUMNS)
    if onto is not None:
        there = np.column_stack([spots["x"], spots["y"], np.ones(len(spots))]) @ np.linalg.inv(onto).T
        spots[["x", "y"]] = there[:, :2] / there[:, 2:]
    return spots
