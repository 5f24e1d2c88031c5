from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc.datasets._lobules import MARGIN_UM, draw_anatomy
from bleep_sc.datasets._paint import paint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc.datasets._lobules import Anatomy

SHAPE = (1700, 1900)
"""Height and width of a slice, px of one µm."""
PITCH_UM, SPOT_UM = 100.0, 55.0
MITOCHONDRIAL = tuple(f"MT-{name}" for name in ("ND1", "ND2", "ND4", "CO1", "CO2", "CO3", "ATP6", "CYB"))
PROGRAMS: dict[str, tuple[str, ...]] = {
    "pericentral": ("CYP3A4", "CYP2E1", "CYP1A2", "ADH4", "OAT"),
    "central_vein": ("GLUL", "LGR5"),
    "periportal": ("FABP1", "HAL", "ALB", "CPS1", "ASS1", "PCK1", "SDS"),
    "bile_duct": ("SOX9", "KRT7", "ANXA4", "EPCAM"),
    "endothelium": ("VWF", "PECAM1"),
    "smooth_muscle": ("ACTA2", "TAGLN"),
    "stroma": ("DCN", "COL1A1", "LUM"),
    "mitochondrial": MITOCHONDRIAL,
    "none": tuple(f"GENE{i:03d}" for i in range(1, 218)),
}
STRENGTH = {
    "pericentral": 3.0,
    "central_vein": 3.2,
    "periportal": -2.4,
    "bile_duct": 3.2,
    "endothelium": 2.2,
    "smooth_muscle": 2.6,
    "stroma": 2.6,
    "mitochondrial": 0.0,
    "none": 0.0,
}
"""How much the logarithm of a mean rises when the program goes from 0 to 1."""
MEDIAN_COUNTS, DISPERSION, BATCH_SD = 8000.0, 0.05, 0.25


@dataclass(frozen=True)
class _Spots:
    """Spots of a slice that lie on tissue: array coordinates (n,) and centres (x, y) in µm (n, 2)."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    centers: NDArray[np.float64]


def toy(n_slices: int = 4, *, random_state: int = 0) -> ad.AnnData:
    """Generate liver tissue: H&E with lobules, and Visium-like counts that follow the zonation that the image shows.

    Every slice has lobules of its own, with central veins and portal triads. Around the central veins cells are pale,
    large and vacuolated, sinusoids are wide, and CYP3A4, CYP1A2, CYP2E1 and, next to the vein, GLUL are high; FABP1 and
    HAL are high around the portal triads, SOX9, KRT7 and ANXA4 in bile ducts, VWF, ACTA2 and DCN in vessels and portal
    fields; most genes follow nothing. Counts are negative binomial. Every slice has a batch effect (each gene's own
    factor) and a region of low quality, with few counts, many of them mitochondrial, that the image does not show.

    Parameters
    ----------
    n_slices
        How many slices.
    random_state
        Seeds everything; equal seeds give equal tissue.

    Returns
    -------
    Raw counts: ``X`` is CSR float32, about 230 spots a slice × 250 genes. ``obs``: ``library_id`` (``"slice1"``, ...),
    ``array_row``, ``array_col``, ``in_tissue``, ``zonation`` (0 portal to 1 central, as the image shows it) and
    ``low_quality``. ``var["program"]``: what a gene follows. ``obsm["spatial"]``: (x, y), px.
    ``uns["spatial"][library]``: the full-resolution image as ``images["hires"]``, scale factor 1; one px is one µm.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.toy(n_slices=1)
    >>> adata.n_vars
    250
    """
    if n_slices < 1:
        raise ValueError(f"n_slices={n_slices} must be at least 1.")
    rng = np.random.default_rng(random_state)
    program = pd.Series({gene: name for name, genes in PROGRAMS.items() for gene in genes}, name="program")
    level = rng.normal(0, 0.9, len(program)) + np.where(program == "mitochondrial", 1.6, 0.0)
    level = np.where(program.isin(["none", "mitochondrial"]), level, rng.normal(0.6, 0.3, len(program)))
    slices = [_slice(f"slice{i + 1}", program, level, child) for i, child in enumerate(rng.spawn(n_slices))]
    adata = ad.concat(slices, uns_merge="unique", merge="same")
    adata.obs[keys.LIBRARY] = adata.obs[keys.LIBRARY].astype("category")
    return adata


def _slice(name: str, program: pd.Series, level: NDArray[np.float64], rng: np.random.Generator) -> ad.AnnData:
    anatomy = draw_anatomy(SHAPE, rng)
    spots = _place_spots(anatomy)
    signals = _signals(anatomy, spots)
    low_quality = _blob(spots.centers, rng)
    counts = _counts(signals, low_quality, program, level, rng)
    adata = ad.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(
            {
                keys.LIBRARY: name,
                keys.IN_TISSUE: 1,
                keys.ARRAY_ROW: spots.row,
                keys.ARRAY_COL: spots.column,
                "zonation": signals["pericentral"],
                "low_quality": low_quality,
            },
            index=[f"{name}_{row}x{column}" for row, column in zip(spots.row, spots.column, strict=True)],
        ),
        var=program.to_frame(),
        obsm={keys.SPATIAL: spots.centers},
    )
    adata.uns[keys.SPATIAL] = {
        name: {
            "images": {"hires": paint(anatomy, rng)},
            "scalefactors": {"tissue_hires_scalef": 1.0, "spot_diameter_fullres": SPOT_UM},
            "metadata": {"technology": "generated (Visium lattice)"},
        }
    }
    return adata


def _place_spots(anatomy: Anatomy) -> _Spots:
    """Visium's lattice: rows half a pitch times the root of three apart, every second column in each."""
    height, width = anatomy.shape
    step_x, step_y = PITCH_UM / 2, PITCH_UM * np.sqrt(3) / 2
    row, column = np.mgrid[0 : int(height / step_y), 0 : int(width / step_x)]
    on_lattice = (row + column) % 2 == 0
    row, column = row[on_lattice], column[on_lattice]
    centers = np.column_stack([column * step_x, row * step_y])
    towards_middle = np.array([width, height]) / 2 - centers
    towards_middle /= np.maximum(np.linalg.norm(towards_middle, axis=1, keepdims=True), 1)
    on_tissue = anatomy.inside(centers) & anatomy.inside(centers - 0.4 * MARGIN_UM * towards_middle)
    return _Spots(row[on_tissue], column[on_tissue], centers[on_tissue])


def _signals(anatomy: Anatomy, spots: _Spots) -> dict[str, NDArray[np.float64]]:
    """Return what a spot sees of every program, 0 to 1: the mean over its disc."""
    radius, angle = np.sqrt(np.linspace(0.02, 1, 24)) * SPOT_UM / 2, np.arange(24) * 2.39996
    disc = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])  # (24, 2), a sunflower
    points = (spots.centers[:, None] + disc).reshape(-1, 2)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values.reshape(len(spots.centers), -1).mean(axis=1)

    zonation = mean(anatomy.zonation(points))
    portal_wall = mean(anatomy.nearness(anatomy.portal_veins, points, 55.0))
    central_wall = mean(anatomy.nearness(anatomy.central_veins, points, 55.0))
    return {
        "pericentral": zonation,
        "central_vein": mean(anatomy.nearness(anatomy.central_veins, points, 75.0)),
        "periportal": zonation,
        "bile_duct": mean(anatomy.nearness(anatomy.bile_ducts, points, 35.0)),
        "endothelium": np.maximum(portal_wall, central_wall),
        "smooth_muscle": np.maximum(mean(anatomy.nearness(anatomy.arteries, points, 35.0)), 0.5 * central_wall),
        "stroma": mean(anatomy.nearness(anatomy.portal_veins, points, 62.0)),
        "mitochondrial": np.zeros_like(zonation),
        "none": np.zeros_like(zonation),
    }


def _blob(centers: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose a round region of about a twelfth of the spots."""
    middle = centers[rng.integers(len(centers))]
    distance = np.linalg.norm(centers - middle, axis=1)
    return distance <= np.quantile(distance, 1 / 12)


def _counts(
    signals: dict[str, NDArray[np.float64]],
    low_quality: NDArray[np.bool_],
    program: pd.Series,
    level: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Negative-binomial counts, (n_spots, n_genes)."""
    effect = np.stack([STRENGTH[name] * signals[name] for name in program], axis=1)
    batch = rng.normal(0, BATCH_SD, len(program))
    mitochondrial = (program == "mitochondrial").to_numpy()
    damage = np.where(low_quality[:, None] & mitochondrial, np.log(5.0), 0.0)
    share = np.exp(level + effect + batch + damage)
    share /= share.sum(axis=1, keepdims=True)
    depth = MEDIAN_COUNTS * rng.lognormal(0, 0.25) * rng.lognormal(0, 0.35, len(low_quality))
    mean = share * np.where(low_quality, 0.15 * depth, depth)[:, None]
    return rng.poisson(mean * rng.gamma(1 / DISPERSION, DISPERSION, mean.shape))
