"""What in the files of a shared reference may tell who is behind it, or where it was made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from bleep_sc.models.fitted import Description

NEUTRAL = {
    "slides": re.compile(r"reference_\d+"),
    "spots": re.compile(r"reference_\d+_\d+"),
    "donors": re.compile(r"reference_donor_\d+"),
}
"""Names that sharing gives."""
TELLING = {
    "a path": re.compile(r"(?<![\w:/.<])/(?:[\w .+-]+/)+[\w.+-]+|\b[A-Za-z]:\\[^\s\"']+"),
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    "a TCGA barcode": re.compile(r"\bTCGA-[A-Z0-9]{2}-[A-Z0-9]{4}"),
    "a UUID": re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE),
    "a date": re.compile(r"\b(?:19|20)\d\d[-/][01]?\d[-/][0-3]?\d\b|\b[0-3]?\d[./][01]?\d[./](?:19|20)\d\d\b"),
}
"""Text that names a person or a place more often than not."""


def kept_names(adata: AnnData, description: Description) -> dict[str, list[str]]:
    """Return the names of slides, spots and donors that are not those that sharing gives."""
    library_key = description.params["library_key"]
    every = {
        "slides": {*adata.obs[library_key].astype(str), *description.slides},
        "spots": set(adata.obs_names.astype(str)),
        "donors": set((description.params.get("donors") or {}).values()),
    }
    found = {kind: sorted(name for name in names if not NEUTRAL[kind].fullmatch(name)) for kind, names in every.items()}
    return {kind: names for kind, names in found.items() if names}


def more_than_needed(adata: AnnData, key: str, description: Description) -> list[str]:
    """Return the parts of an AnnData that imputation does not need, such as coordinates and images."""
    params = description.params
    target = [params["target_rep"]] if params["target_rep"] is not None else []
    patches = [made["patches_key"] for made in description.recipe.get("features", []) if made.get("stains")]
    needed: Mapping[str, Sequence[str]] = {
        "obs": (params["library_key"], keys.checksum(key)),
        "obsm": (keys.image_embedding(key), keys.expression_embedding(key), keys.held_out(key), *target),
        "uns": (key, keys.LOG1P, *target, *patches),
        "layers": [name for name in (params.get("reference_layer", params["layer"]),) if name is not None],
        "obsp": (),
    }
    return [
        f"{slot}[{str(name)!r}]"
        for slot, names in needed.items()
        for name in getattr(adata, slot)
        if name is not None and name not in names
    ]


def telling_text(folder: Path, texts: Sequence[str], h5ad: str) -> dict[str, str]:
    """Return one example of every kind of telling text in the files of a folder, by its kind and its file."""
    found: dict[str, str] = {}
    for file in (*texts, h5ad):
        lines = _strings(folder / file) if file == h5ad else (folder / file).read_text(encoding="utf-8").splitlines()
        for line in lines:
            for kind, pattern in TELLING.items():
                name = f"{kind} in {file}"
                if name not in found and (match := pattern.search(line)):
                    found[name] = match[0]
    return found


def _strings(path: Path) -> Iterator[str]:
    """Return every string in an HDF5 file: names, attributes and values."""
    import h5py

    parts: list[str] = []

    def look(name: str, part: h5py.Group | h5py.Dataset) -> None:
        parts.extend([name.rpartition("/")[2], *(value for value in part.attrs.values() if isinstance(value, str))])
        if isinstance(part, h5py.Dataset) and h5py.check_string_dtype(part.dtype):
            parts.extend(np.ravel(part.asstr()[()]).tolist())

    with h5py.File(path, "r") as file:
        file.visititems(look)
    yield from parts
