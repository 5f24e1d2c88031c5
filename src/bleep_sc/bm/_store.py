"""Predictions of a cross-validation on disk: one file a run, complete or absent, so that an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._records import names_hash

if TYPE_CHECKING:
    from bleep_sc.bm._folds import Split

SETTINGS = "settings.json"


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


def open_store(path: str | Path, settings: dict[str, Any]) -> Path:
    """Make the folder, or check that what is in it was computed from the same data and settings."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    file = path / SETTINGS
    if file.exists():
        before = json.loads(file.read_text())
        changed = [key for key in settings if before.get(key) != settings[key]]
        if changed:
            raise ValueError(
                f"{str(path)!r} holds runs of another comparison: {', '.join(changed)} differ. Pass another path=, or "
                "remove that folder."
            )
    else:
        _write(file, json.dumps(settings, indent=2).encode())
    return path


def settings_of(data: Split) -> dict[str, Any]:
    """Return what the predictions depend on, apart from the methods."""
    counts = sparse.csr_matrix(data.counts)
    counts.sort_indices()
    return {
        "spots": names_hash(data.adata.obs_names),
        "genes": names_hash(data.adata.var_names),
        "counts": [_hash(counts.data), _hash(counts.indices), _hash(counts.indptr)],
        "groups": names_hash(data.groups),
        "slides": names_hash(data.slides),
        "obsm": {key: _hash(np.asarray(data.adata.obsm[key])) for key in sorted(data.obsm)},
        "n_top_genes": data.n_top_genes,
    }


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
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as draft:
        try:
            np.savez_compressed(draft, **arrays)  # type: ignore[arg-type]
            draft.flush()
            os.fsync(draft.fileno())
            os.replace(draft.name, file)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise


def read_run(file: Path, method: str, group: str, seed: int) -> Run:
    """Read a run that :func:`write_run` wrote."""
    with np.load(file, allow_pickle=False) as arrays:
        weights = None
        if "indptr" in arrays:
            parts = (arrays["data"], arrays["indices"], arrays["indptr"])
            weights = sparse.csr_matrix(parts, shape=tuple(arrays["shape"]))
        genes = [str(gene) for gene in arrays["genes"]]
        return Run(method, group, seed, genes, arrays["values"], weights, float(arrays["seconds"]))


def _write(file: Path, content: bytes) -> None:
    draft = file.with_name(file.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, file)
