"""Xenium's folders, gathered into spots on an H&E that is aligned.

spatialdata-io reads them too, and `pp.gather_cells` takes what it returns. It asks for `cells.zarr.zip`, which is often
not deposited, and knows the H&E by one name alone, without its path; so the matrix is read by scanpy here, the H&E by
`slides`, and what lies in a spot is summed by spatialdata.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc import slides
from bleep_sc._output.messages import listed, logger, warn
from bleep_sc.pp._gathered import Cells, spots_of_cells
from bleep_sc.pp._transcripts import QUALITY, chosen_transcripts

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

EXPERIMENT, MATRIX, TRANSCRIPTS = "experiment.xenium", "cell_feature_matrix", "transcripts.parquet"
CELLS = ("cells.parquet", "cells.csv.gz", "cells.csv")
PIXEL_UM = 0.2125
"""µm per px of the morphology image, of every Xenium so far; `experiment.xenium` says it."""
HE = re.compile(r"(^|[ _.-])(h_?e|h&e|h_and_e)([ _.-]|$)|he_image", re.IGNORECASE)
SUFFIXES = (".tif", ".tiff", ".btf", ".svs", ".ndpi", ".jpg", ".jpeg", ".png")
ALIGNMENT = re.compile(r"(align|matrix).*\.csv$", re.IGNORECASE)
SHEARED = 0.03
"""How much longer a px of the H&E may be one way than the other before something is wrong with its alignment."""


def recognises(folder: Path) -> bool:
    """Tell whether a folder is what Xenium's analysis wrote, or holds it as ``outs``."""
    return _outs(folder) is not None


def read(
    folder: Path,
    *,
    name: str | None = None,
    image: Path | None = None,
    alignment: Path | None = None,
    spot_um: float = 55.0,
) -> AnnData:
    """Read the slide of a folder as spots of ``spot_um`` with raw counts, on the px of its H&E.

    Transcripts are summed where they are there, else cells. ``name`` is that of the slide, None what the experiment
    calls its region; ``image`` is the H&E, None the one that is found by its name. ``alignment`` is its CSV,
    None one beside it.
    """
    outs = _outs(folder)
    if outs is None:
        raise FileNotFoundError(f"{str(folder)!r} holds no cells of Xenium: it needs {MATRIX}.h5 and {CELLS[0]}.")
    about = json.loads((outs / EXPERIMENT).read_text(encoding="utf-8")) if (outs / EXPERIMENT).is_file() else {}
    name = name or str(about.get("region_name") or about.get("run_name") or folder.name)
    places = [outs, *([folder] if folder != outs else []), folder.resolve().parent]
    image = image or _he(places[:-1], name)
    alignment = alignment or _alignment(image, places)
    pixel_um = float(about.get("pixel_size", PIXEL_UM))
    onto_he = (np.linalg.inv(_matrix(alignment)) @ np.diag([1 / pixel_um, 1 / pixel_um, 1])).astype(np.float64)
    mpp = _mpp(onto_he, alignment)
    counts, centers, var = _cells(outs)
    transcripts = None
    if (outs / TRANSCRIPTS).is_file():
        columns = ["x_location", "y_location", "feature_name", QUALITY]
        # Names are kept as numbers: there are 100 million of them.
        table = pd.read_parquet(outs / TRANSCRIPTS, columns=columns, engine="pyarrow", read_dictionary=["feature_name"])
        names = table["feature_name"].cat
        table["feature_name"] = names.rename_categories(_text(names.categories.to_series()).to_numpy())
        transcripts = chosen_transcripts(
            table, "feature_name", ("x_location", "y_location"), onto_he, var.index, TRANSCRIPTS
        )
    logger.info(
        "%s: H&E %s, aligned by %s, %.4g µm per px; %s.",
        *(name, image.name, alignment.name, mpp, "transcripts" if transcripts else f"no {TRANSCRIPTS}, so cells"),
    )
    cells = Cells(
        slides.transform_points(centers, onto_he), var, None if transcripts else counts, transcripts, _called(about)
    )
    with slides.open_slide(image) as slide:
        if np.isfinite(slide.mpp) and abs(slide.mpp / mpp - 1) > 0.05:
            warn(
                f"The H&E of slide {name!r} measures {mpp:.4g} µm per px by its alignment ({alignment.name}), but its "
                f"file says {slide.mpp:.4g} ({slide.mpp_source}). The former is taken; check that the alignment is of "
                "this file, and at its full resolution."
            )
        return spots_of_cells(cells, slide, name, mpp, spot_um, min_counts=50, min_cells=1)


def _outs(folder: Path) -> Path | None:
    for each in (folder, folder / "outs"):
        has_cells = any((each / file).is_file() for file in CELLS)
        if has_cells and ((each / f"{MATRIX}.h5").is_file() or (each / MATRIX).is_dir()):
            return each
    return None


def _he(folders: list[Path], name: str) -> Path:
    """Return the one image in some folders that is called an H&E."""
    images = [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix.lower() in SUFFIXES
    ]
    called = [path for path in images if HE.search(path.name)]
    if len(called) == 1:
        return called[0]
    ask = f"Pass it: image={{{name!r}: 'path'}} (on the command line --image {name}=FILE)."
    if called:
        raise ValueError(f"Which image is the H&E of slide {name!r} is not clear: {listed(called)}. {ask}")
    raise FileNotFoundError(
        f"No H&E of slide {name!r} was found in {str(folders[0])!r}: no image is called like ..._he_image.ome.tif "
        f"(there are: {listed(path.name for path in images)}). Xenium's own morphology images are fluorescence; the "
        f"H&E is made after the run, and aligned in Xenium Explorer. {ask}"
    )


def _alignment(image: Path, folders: list[Path]) -> Path:
    """Return the alignment of an H&E: what is called after it, else the only one beside it or in the folders."""
    stem = re.sub(r"(\.ome)?\.\w+$", "", image.name)
    near = dict.fromkeys([image.resolve().parent, *folders])
    there = [path for folder in near for path in sorted(folder.iterdir()) if ALIGNMENT.search(path.name)]
    there += [path for folder in near for path in sorted(folder.glob("*alignment_files/matrix.csv"))]
    own = [path for path in there if path.name.startswith(stem) or path.parent.name.startswith(stem)]
    beside = [path for path in there if path.parent == image.resolve().parent or path.parent in folders[:-1]]
    found = list(dict.fromkeys(own or beside))
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"Which alignment is that of {image.name!r} is not clear: {listed(found)}. Keep the right one beside it as "
            f"{stem}alignment.csv."
        )
    raise FileNotFoundError(
        f"No alignment of {image.name!r} was found: where the cells lie on it is not known. Align it in Xenium "
        "Explorer (add an image, set landmarks, save the transformation matrix), and put the CSV beside it as "
        f"{stem}alignment.csv: 3 × 3 numbers, from px of the H&E to px of the morphology image. For an H&E that lies "
        "on the morphology image already, px on px, that is the identity matrix."
    )


def _matrix(path: Path) -> NDArray[np.float64]:
    """Return the affine map of a file, (3, 3), from px of the H&E to px of the morphology image."""
    try:
        matrix = pd.read_csv(path, header=None).to_numpy(dtype=np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} holds no matrix of 3 × 3 numbers: {error}") from None
    if matrix.shape != (3, 3):
        raise ValueError(
            f"{str(path)!r} holds {matrix.shape[0]} × {matrix.shape[1]} numbers; an alignment has 3 × 3. Landmarks "
            "(keypoints.csv) are no alignment: save the transformation matrix in Xenium Explorer."
        )
    slides.transform_points(np.zeros((1, 2)), matrix)  # refuses what is no affine map
    return matrix


def _mpp(onto_he: NDArray[np.float64], alignment: Path) -> float:
    """Return µm per px of the H&E, and warn where it is not the same both ways."""
    long, short = np.linalg.svd(onto_he[:2, :2], compute_uv=False)
    if long / short - 1 > SHEARED:
        warn(
            f"{alignment.name} stretches the H&E by {long / short:.3f} one way, and a scan is not stretched. Spots "
            "are squares of its px, and their side the mean of both. Check the landmarks."
        )
    return 1 / float(np.sqrt(long * short))


def _cells(outs: Path) -> tuple[sparse.csr_matrix, NDArray[np.float64], pd.DataFrame]:
    """Return counts of the genes, centres of the cells in µm, and the genes; controls are left out."""
    import scanpy as sc

    path = outs / f"{MATRIX}.h5"
    adata = sc.read_10x_h5(path, gex_only=True) if path.is_file() else sc.read_10x_mtx(outs / MATRIX, gex_only=True)
    adata.var_names_make_unique()
    file = next(outs / name for name in CELLS if (outs / name).is_file())
    table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    table = table.set_index(_text(table["cell_id"]))
    if absent := adata.obs_names.difference(table.index).tolist():
        raise ValueError(
            f"{file.name} lacks {len(absent)} of the {adata.n_obs} cells of the matrix, such as {absent[0]!r}: the "
            "files are of different runs."
        )
    centers = table.loc[adata.obs_names, ["x_centroid", "y_centroid"]].to_numpy(dtype=np.float64)
    return sparse.csr_matrix(adata.X), centers, adata.var[["gene_ids"]].copy()


def _text(column: pd.Series) -> pd.Series:
    """Return a column as text; version 1 wrote bytes, and numbers of cells."""
    is_bytes = len(column) and isinstance(column.iloc[0], bytes)
    return column.str.decode("utf-8") if is_bytes else column.astype(str)


def _called(about: dict[str, Any]) -> str:
    panel = about.get("panel_name")
    return f"Xenium, {panel}" if panel else "Xenium"
