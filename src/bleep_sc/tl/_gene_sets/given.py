"""Sets of genes as they are given: by name, as decoupler's network, or as a file of MSigDB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMATS = (
    "Pass a dict of names and lists of genes, a DataFrame with columns 'source' and 'target' (and 'weight', if genes "
    "count differently), or the path of a .gmt file."
)


def read_gene_sets(
    gene_sets: Mapping[str, Sequence[str]] | pd.DataFrame | str | Path,
) -> dict[str, dict[str, float]]:
    """Return the weights of the genes of every set, by its name and theirs; they are 1 where none are given."""
    if isinstance(gene_sets, pd.DataFrame):
        found = _of_network(gene_sets)
    elif isinstance(gene_sets, Mapping):
        found = {name: _of_names(name, genes) for name, genes in gene_sets.items()}
    else:
        found = _of_file(Path(gene_sets))
    if not found:
        raise ValueError(f"gene_sets= is empty: there must be one set or more. {FORMATS}")
    _require_usable(found)
    return found


def _of_names(name: Any, genes: Any) -> dict[str, float]:
    """Return the genes of a set, each once."""
    if isinstance(genes, str) or not np.iterable(genes) or not all(isinstance(gene, str) for gene in genes):
        raise ValueError(f"gene_sets={name!r} must be a list of names of genes, and is {genes!r}.")
    return dict.fromkeys(map(str, genes), 1.0)


def _of_network(network: pd.DataFrame) -> dict[str, dict[str, float]]:
    absent = [column for column in ("source", "target") if column not in network]
    if absent:
        raise ValueError(f"gene_sets= has no column {listed(absent)} (it has: {listed(network)}). {FORMATS}")
    edges = network[["source", "target"]].assign(weight=network.get("weight", 1.0))
    weight = pd.to_numeric(edges["weight"], errors="coerce")
    if edges[["source", "target"]].isna().any(axis=None) or not np.isfinite(weight).all():
        raise ValueError(
            "gene_sets= lacks a name, or has a weight that is no number. Drop these rows: gene_sets.dropna()."
        )
    edges = edges.astype({"source": str, "target": str}).assign(weight=weight.astype(float))
    twice = edges[edges.duplicated(["source", "target"], keep=False)]
    if (twice.groupby(["source", "target"])["weight"].nunique() > 1).any():
        raise ValueError(
            f"gene_sets= has several weights of one gene in a set ({listed(twice['target'].unique(), 3)}). Take one: "
            "gene_sets.drop_duplicates(['source', 'target'])."
        )
    return {
        str(name): dict(zip(of_set["target"], of_set["weight"], strict=True))
        for name, of_set in edges.groupby("source", sort=False)
    }


def _of_file(path: Path) -> dict[str, dict[str, float]]:
    """Read a line for every set: its name, what it is, and its genes, with tabs between them."""
    if not path.is_file():
        raise FileNotFoundError(f"No file with sets of genes at gene_sets={str(path)!r}. {FORMATS}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"gene_sets={str(path)!r} is no text ({error}). {FORMATS}") from error
    found: dict[str, dict[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        name, *fields = line.split("\t")
        genes = [gene.strip() for gene in fields[1:] if gene.strip()]
        if not line.strip():
            continue
        if not genes or name in found:
            what = "names a set a second time" if name in found else "is not a name, a description and genes with tabs"
            raise ValueError(f"gene_sets={str(path)!r}: line {number} ({line[:60]!r}) {what}. {FORMATS}")
        found[name] = dict.fromkeys(genes, 1.0)
    return found


def _require_usable(names: Iterable[Any]) -> None:
    """Refuse names that h5ad and zarr do not take as those of columns."""
    wrong = [name for name in names if not isinstance(name, str) or re.fullmatch(r"\.*|.*[/\\\x00].*", name, re.DOTALL)]
    if wrong:
        raise ValueError(
            f"gene_sets= has names of sets that cannot be columns of a file: {listed(map(repr, wrong), 3)}. They must "
            "be texts without '/' and '\\': {name.replace('/', '_'): genes for name, genes in gene_sets.items()}."
        )
