"""Predictions of a cross-validation on disk: one file a run, complete or absent, so that an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._adata.records import names_hash
from bleep_sc._output.disk import appears
from bleep_sc._output.messages import listed, logger
from bleep_sc._version import __version__
from bleep_sc.bm._ingredients import CHANGES, UNTOLD

if TYPE_CHECKING:
    from bleep_sc.bm._folds import Split

SETTINGS = "settings.json"
N_SKETCHES, SKETCH_TOLERANCE = 8, 1e-4


@dataclass(frozen=True)
class Run:
    """What one method predicted for one held-out group."""

    method: str
    group: str
    seed: int
    genes: list[str]
    values: np.ndarray[Any, np.dtype[np.float32]]
    """(n_spots of the group, n_genes); NaN columns were not predicted."""
    weights: sparse.csr_matrix | None
    """(n_spots of the group, n_training spots), for methods that average training spots."""
    seconds: float
    made_with: dict[str, str] = field(default_factory=dict)
    """What the method was made with, as :func:`bleep_sc.bm._ingredients.made_with` tells it."""


def open_runs(path: str | Path, settings: dict[str, Any]) -> Path:
    """Make the folder, or check that what is in it was computed from the same data and settings."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    file = path / SETTINGS
    if file.exists():
        before = json.loads(file.read_text())
        changed = [key for key in settings if not _same(before.get(key), settings[key])]
        if changed:
            raise ValueError(
                f"{str(path)!r} holds runs of another comparison: {', '.join(changed)} differ. Pass another path=, or "
                "remove that folder."
            )
    else:
        with appears(file) as draft:
            draft.write_text(json.dumps(settings, indent=2))
    return path


def settings_of(data: Split) -> dict[str, Any]:
    """Return what the predictions depend on, apart from the methods."""
    counts = canonical(data.counts)
    return {
        "version": __version__,
        "spots": names_hash(data.adata.obs_names),
        "genes": names_hash(data.adata.var_names),
        "counts": [_hash(counts.data), _hash(counts.indices), _hash(counts.indptr)],
        "groups": names_hash(data.groups),
        "slides": names_hash(data.slides),
        "donors": None if data.donors is None else names_hash(map("\n".join, sorted(data.donors.items()))),
        "obs": {key: _hash(places) for key, places in data.lattice.items()},
        "obsm": {key: _described(data.array(key)) for key in sorted(data.obsm)},
        "scalefactors": _scale_factors(data),
        "images": {name: {key: _hash(image) for key, image in each.items()} for name, each in data.images().items()},
        "n_top_genes": data.n_top_genes,
        "markers": sorted(data.markers),
    }


def canonical(counts: Any) -> sparse.csr_matrix:
    """Return counts as a sparse matrix of its own in which equal rows look equal."""
    matrix = sparse.csr_matrix(counts, copy=True)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _scale_factors(data: Split) -> dict[str, dict[str, str]]:
    records = data.adata.uns.get(keys.SPATIAL, {})
    factors = {str(name): record.get("scalefactors", {}) for name, record in records.items() if name in data.slides}
    return {name: {key: str(value) for key, value in each.items()} for name, each in factors.items()}


def _same(before: Any, now: Any) -> bool:
    """Compare settings; floats may differ as much as the same features do when more threads compute them."""
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(_same(before[key], now[key]) for key in now)
    if isinstance(before, list) and isinstance(now, list) and all(isinstance(each, float) for each in [*before, *now]):
        return len(before) == len(now) and np.allclose(before, now, rtol=0, atol=SKETCH_TOLERANCE)
    return bool(before == now)


def _described(array: np.ndarray[Any, Any]) -> str | list[float]:
    """Describe whole numbers by a hash, and floats by sums with random signs, in units of their norm.

    The sums of a row that is moved or changed differ by about one over the square root of the number of rows.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return _hash(array)
    rng = np.random.default_rng(0)
    flat = array.reshape(len(array), -1).astype(np.float64)
    rows = rng.choice([-1.0, 1.0], size=(N_SKETCHES, flat.shape[0]))
    columns = rng.choice([-1.0, 1.0], size=(N_SKETCHES, flat.shape[1]))
    norm = float(np.linalg.norm(flat))
    sums = np.einsum("kr,rc,kc->k", rows, flat / (norm or 1.0), columns, optimize=True)
    return [float(np.log1p(norm)), *map(float, sums)]


def _hash(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def run_file(path: Path, method: str, group: str, seed: int) -> Path:
    """Return where a run is kept; names that differ stay apart whatever characters they have."""
    name = f"{method}\n{group}\n{seed}"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{method} {group} {seed}").strip("-")
    return path / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.npz"


def write_run(file: Path, run: Run) -> None:
    """Write a run; the file appears when it is complete."""
    arrays = {"values": run.values, "genes": np.asarray(run.genes, dtype=str), "seconds": np.asarray(run.seconds)}
    if run.weights is not None:
        weights = run.weights
        arrays |= {"data": weights.data, "indices": weights.indices, "indptr": weights.indptr}
        arrays["shape"] = np.asarray(weights.shape)
    arrays["made_with"] = np.asarray(json.dumps(run.made_with, sort_keys=True))
    remedy = f"The runs in {str(file.parent)!r} are kept: make room and call again, which goes on from them."
    with appears(file, remedy) as draft:
        np.savez_compressed(draft, **arrays)  # type: ignore[arg-type]


def read_run(file: Path, method: str, group: str, seed: int, made_with: dict[str, str]) -> Run | None:
    """Read a run that :func:`write_run` wrote, or refuse one of a method that was made with something else.

    None where that cannot be told.
    """
    with np.load(file, allow_pickle=False) as arrays:
        before = json.loads(str(arrays["made_with"]))
        changed = [
            key
            for key in sorted({*before, *made_with})
            if before.get(key) != made_with.get(key) and not (before.get(key) == CHANGES and key in made_with)
        ]
        if changed:
            raise ValueError(
                f"{str(file)!r} holds a run of {method!r} with other arguments: {', '.join(changed)} differ. Pass "
                "another path=, give the method another name, or remove that file."
            )
        untold = [key for key, part in made_with.items() if part == UNTOLD]
        if untold:
            logger.warning(
                "methods[%r] reads %s, which cannot be compared with what it was before: %s is run again.",
                method,
                listed(untold),
                group,
            )
            return None
        weights = None
        if "indptr" in arrays:
            parts = (arrays["data"], arrays["indices"], arrays["indptr"])
            weights = sparse.csr_matrix(parts, shape=tuple(arrays["shape"]))
        genes = [str(gene) for gene in arrays["genes"]]
        return Run(method, group, seed, genes, arrays["values"], weights, float(arrays["seconds"]), made_with)
