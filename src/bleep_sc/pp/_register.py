from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bleep_sc import slides
from bleep_sc._output.arguments import shown
from bleep_sc._output.messages import warn
from bleep_sc.pp._measured import Measured, measured_and, move_onto
from bleep_sc.pp._transforms import matrix_of
from bleep_sc.slides._affine import AffineFit, scale_of_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import ArrayLike


FARTHEST = 0.25
"""How far landmarks may lie off their map (RMS), as a share of how far they lie around their middle."""


def register(
    adata: AnnData,
    image: Any,
    landmarks: str | Path | pd.DataFrame | Sequence[Any] | None = None,
    *,
    transform: Any = None,
    model: Literal["similarity", "affine"] = "similarity",
    reflection: bool = False,
    mpp: float | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Lay a slide on another image of its section, or on the next section, by landmarks or a known map.

    The H&E was scanned again, on another scanner, turned or from the other side; or a section was measured, and the
    next one stained. Afterwards the spots lie on the new image: :func:`bleep_sc.pp.extract_patches` cuts it, and
    plots of Squidpy and bleep_sc show it. What was there before is kept, and a second call starts from it.

    Landmarks are places that show the same tissue on both images; four to six, far apart, near the rim of the tissue.
    The map is the one of least squares,
    :math:`\min_A \sum_i \lVert A (x_i, y_i, 1)^\top - (x'_i, y'_i)^\top \rVert^2`. How far landmarks lie off it says
    little when they are few: each is also foretold by the others, and the standard error at the spots is that of the
    jackknife. Look at both with :func:`bleep_sc.pl.registration`.

    Parameters
    ----------
    adata
        Spots of one slide or several, with full-resolution (x, y) in ``obsm[spatial_key]``.
    image
        The new image, whatever :func:`bleep_sc.slides.open_slide` takes.
    landmarks
        Places on both images, full-resolution px: one table with columns ``source_x``, ``source_y``, ``target_x`` and
        ``target_y`` (the source is the measured image, the target the new one), or a pair, the points on the measured
        image and those on the new one: files of QuPath (GeoJSON, or a table), napari or a spreadsheet, DataFrames or
        arrays; see :func:`bleep_sc.slides.read_landmarks`.
    transform
        Instead of landmarks, what is known of the map: a matrix (3, 3) or (2, 3) that takes px of the measured image to
        px of the new one; such a transformation of SpatialData; the alignment JSON of Loupe Browser or Space Ranger for
        the new image (of Visium HD a pair, that of the measured image and that of the new one, unless the former is the
        picture of the CytAssist); or the ``*imagealignment.csv`` of Xenium Explorer, where ``obsm[spatial_key]`` is in
        µm.
    model
        What is fitted to landmarks: a ``"similarity"`` turns, scales and moves, which is all that another scan does; an
        ``"affine"`` map also stretches and shears, for another section and five landmarks or more.
    reflection
        Whether the new image is the mirror image of the measured one.
    mpp
        µm per px of the new image; None is what its file says, else what follows from the measured one.
    library_id
        The slide to register, of several.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are, for the slide, the others stay as they are:

    ``obsm[spatial_key]`` : float64, (n_obs, 2)
        Where the spots are on the new image, (x, y), full-resolution px.
    ``uns["spatial"][library_id]`` : dict
        The new image: a small picture, scale factors with ``microns_per_pixel`` where known, and its path.
    ``obsm["{spatial_key}_unregistered"]`` : float64, (n_obs, 2)
        Where they were before.
    ``uns["registration"][library_id]`` : dict
        ``matrix`` (3, 3), ``by``, ``reflection``, ``image``, ``mpp`` and ``mpp_source``, ``spatial_key``, and
        ``unregistered``, the entry of ``uns["spatial"]`` before. Of landmarks ``landmarks`` (their names), ``source``
        and ``target`` (n, 2), ``residual_px`` and ``left_out_px`` (n,), px of the new image; their root mean squares
        ``rms_px`` and ``left_out_rms_px``, ``rms_um`` and ``left_out_rms_um``; ``spot_error_um``, the standard error at
        the spots on average. NaN where not known.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    ValueError
        With too few landmarks, two in one place or all on one line; where they lie off the map by more than a quarter
        of their own spread, as those do that are paired in another order; where images are mirrored and ``reflection``
        says otherwise; when spots come to lie outside the new image, or patches of the image before are there.

    Warns
    -----
    UserWarning
        When landmarks lie off by more than a spot, or are as few as always fit; when the map contradicts µm per px of
        the images, or stretches; when a part of the spots leaves the image.

    Examples
    --------
    A scan at half the resolution, a quarter turn from the other:

    >>> import bleep_sc as bs
    >>> import numpy as np
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> scan = np.rot90(adata.uns["spatial"]["slice1"]["images"]["hires"], -1)[::2, ::2]
    >>> measured = np.array([[200, 300], [1700, 300], [1700, 1500], [200, 1500]])
    >>> on_scan = np.column_stack([1700 - measured[:, 1], measured[:, 0]]) / 2
    >>> bs.pp.register(adata, scan, (measured, on_scan))
    >>> adata.uns["registration"]["slice1"]["matrix"].round(3).tolist()
    [[0.0, -0.5, 850.0], [0.5, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if (landmarks is None) == (transform is None):
        raise ValueError(
            "Pass landmarks=, places on both images, or transform=, a map that is known: one of the two. Given were "
            f"landmarks={shown(landmarks)} and transform={shown(transform)}."
        )
    adata = adata.copy() if copy else adata
    with measured_and(image, adata, library_id, library_key, spatial_key) as (measured, slide):
        if landmarks is None:
            matrix, by = matrix_of(transform, measured)
            move_onto(adata, measured, slide, matrix, mpp, {"by": by})
        else:
            table = slides.read_landmarks(landmarks)
            source, target = table[["source_x", "source_y"]].to_numpy(), table[["target_x", "target_y"]].to_numpy()
            fit = slides.fit_landmarks(source, target, model=model, reflection=reflection)
            record = {"by": model, "landmarks": table.index.to_numpy(dtype=str), "source": source, "target": target}
            move_by_fit(adata, measured, slide, fit, mpp, record)
    return adata if copy else None


def move_by_fit(
    adata: AnnData, measured: Measured, slide: slides.Slide, fit: AffineFit, mpp: float | None, record: dict[str, Any]
) -> None:
    """Move a slide by a map that was fitted to landmarks, write how well they agree, and warn where they do not."""
    scale = slide.mpp if mpp is None else mpp
    scale = measured.mpp / scale_of_matrix(fit.matrix) if np.isnan(scale) else scale
    rms, left_out = _rms(fit.residual_px), _rms(fit.left_out_px)
    record |= {
        "n_landmarks": len(fit.residual_px),
        "residual_px": fit.residual_px,
        "left_out_px": fit.left_out_px,
        "rms_px": rms,
        "left_out_rms_px": left_out,
        "rms_um": rms * scale,
        "left_out_rms_um": left_out * scale,
        "spot_error_um": float(fit.standard_error(measured.centers).mean() * scale),
    }
    _require_pairs(measured, record)
    _warn_of_residual(measured, fit, record)
    move_onto(adata, measured, slide, fit.matrix, mpp, record)


def _require_pairs(measured: Measured, record: dict[str, Any]) -> None:
    """Refuse landmarks that no map of the kind brings together, as those that are paired in another order."""
    target = np.asarray(record["target"], dtype=np.float64)
    spread = _rms(np.linalg.norm(target - target.mean(axis=0), axis=1))
    if record["rms_px"] > FARTHEST * spread:
        raise ValueError(
            f"Landmarks of slide {measured.name!r} do not show the same places on both images: the best "
            f"{record['by']} map leaves {record['rms_px']:.0f} px between them (RMS), and they lie {spread:.0f} px "
            "around their middle. Are they in the same order, source first and then target, and (x, y)? For a mirror "
            "image, pass reflection=True."
        )


def _warn_of_residual(measured: Measured, fit: AffineFit, record: dict[str, Any]) -> None:
    names = record["landmarks"]
    if np.isnan(record["left_out_rms_px"]):
        warn(
            f"The {len(names)} landmarks of slide {measured.name!r} always fit, or nearly, however wrong they are. Set "
            "two more, so that each can be foretold by the others."
        )
    spot = measured.spot_px * scale_of_matrix(fit.matrix)
    off = fit.residual_px if np.isnan(record["left_out_rms_px"]) else fit.left_out_px
    if _rms(off) > spot:
        worst = int(np.argmax(off))
        warn(
            f"Landmarks of slide {measured.name!r} lie {_rms(off):.0f} px off where the others say (RMS), more than "
            f"the diameter of a spot, {spot:.0f} px; most so {str(names[worst])!r}, {off[worst]:.0f} px. Look at "
            "bleep_sc.pl.registration."
        )


def _rms(values: ArrayLike) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
