"""Genes that are asked for on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata.checks import require_model
from bleep_sc._output.messages import listed
from bleep_sc.tl._models.in_uns import read_description

if TYPE_CHECKING:
    from anndata import AnnData


def genes_of(ref: AnnData, key: str, genes: str, draw: str) -> tuple[list[str], list[str]]:
    """Return the genes to predict and those to draw, or refuse what the reference cannot predict."""
    chosen, drawn = _chosen(ref, key, genes), names_of(draw)
    absent = [gene for gene in chosen if gene not in ref.var_names]
    if absent or not chosen:
        raise ValueError(
            f"--genes asks for {listed(absent)}, and the reference measured {listed(ref.var_names, 4)}. Pass some of "
            "these with commas, panel, or all."
        )
    absent = [gene for gene in drawn if gene not in chosen]
    if absent:
        raise ValueError(f"--draw asks for {', '.join(absent)}, which --genes={genes} does not predict.")
    return chosen, drawn


def _chosen(ref: AnnData, key: str, genes: str) -> list[str]:
    if genes == "all":
        return ref.var_names.tolist()
    if genes == "panel":
        trained = set(read_description(require_model(ref, key), key).genes)
        panel = [gene for gene in ref.var_names if gene in trained]
        return panel or ref.var_names.tolist()
    return names_of(genes)


def names_of(names: str) -> list[str]:
    """Return every name once."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
