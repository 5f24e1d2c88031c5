"""Matching the genes of a query with those of a reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from bleep_sc._adata.checks import require_unique_genes
from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

ENSEMBL = re.compile(r"^(ENS[A-Z]*G\d{11})(\.\d+)?$")


def gene_names(adata: AnnData, gene_key: str | None) -> pd.Index:
    """Return the identifiers of the genes: ``var[gene_key]``, or ``var_names``; Ensembl ids without their version."""
    if gene_key is None or gene_key not in adata.var:
        require_unique_genes(adata)
        names = adata.var_names.astype(str)
    else:
        names = pd.Index(adata.var[gene_key].astype(str))
    if gene_key is None:
        return names
    names = names.map(lambda name: ENSEMBL.sub(r"\1", name))
    if not names.is_unique:
        twice = names[names.duplicated()].unique()
        raise ValueError(f"var[{gene_key!r}] is not unique: {listed(twice)}; it cannot identify genes.")
    return names


def columns_of(genes: Sequence[str], query: AnnData) -> NDArray[Any]:
    """Return the column of the query for every gene of a model, -1 where it has none; less than half are refused."""
    require_unique_genes(query)
    position = query.var_names.get_indexer(list(genes))
    shared = int((position >= 0).sum())
    if shared * 2 < len(genes):
        raise ValueError(
            f"The query has only {shared} of the {len(genes)} genes of the model, such as {listed(genes, 3)}."
            f"{_advice(query.var_names.astype(str), pd.Index(genes))} Rename its var_names."
        )
    return position


def match_genes(query: AnnData, ref: AnnData, genes: Sequence[str] | None, gene_key: str | None) -> NDArray[Any]:
    """Return for every gene of the query the column of the reference that holds it, -1 for genes not to be predicted.

    Raises an error when less than half of the query's genes are found, since identifiers of another kind, or another
    species, are the likely reason.
    """
    if gene_key is not None and gene_key not in query.var and gene_key not in ref.var:
        raise KeyError(
            f"gene_key={gene_key!r} is a column of var neither in the query ({listed(query.var)}) nor in the reference "
            f"({listed(ref.var)}). Pass a column that both have."
        )
    if not query.n_vars:
        raise ValueError(
            "The query has no genes in var, so there is nothing to predict. Make it with those of the reference: "
            "AnnData(obs=..., var=adata_ref.var[[]], obsm=...)."
        )
    names, columns = gene_names(query, gene_key), gene_names(ref, gene_key)
    position = columns.get_indexer(names)
    shared = int((position >= 0).sum())
    if shared * 2 < min(len(names), len(columns)) or shared == 0:
        raise ValueError(
            f"Query and reference share only {shared} genes, of {len(names)} and {len(columns)}: the query has "
            f"{listed(names, 3)}, the reference {listed(columns, 3)}.{_advice(names, columns)} Pass gene_key=, a "
            "column of var in both that identifies genes alike, or rename var_names."
        )
    if query.X is not None or len(query.layers):  # else it has none, and takes the names of the reference
        logger.info("%d of the query's %d genes are in the reference (%d genes).", shared, len(names), len(columns))
    if genes is not None:
        wanted = [genes] if isinstance(genes, str) else list(genes)
        unknown = [gene for gene in wanted if gene not in query.var_names]
        absent = [gene for gene in wanted if gene not in unknown and position[query.var_names.get_loc(gene)] < 0]
        if unknown or absent:
            where = "query.var_names" if unknown else "the reference"
            alike = {gene.upper(): gene for gene in query.var_names}
            meant = [alike[gene.upper()] for gene in unknown if gene.upper() in alike]
            hint = f" Did you mean {listed(meant)}?" if meant else ""
            raise KeyError(
                f"genes= asks for {listed(unknown or absent)}, which {where} does not have. Leave them out.{hint}"
            )
        position[~query.var_names.isin(wanted)] = -1
    return position


def _advice(names: pd.Index, columns: pd.Index) -> str:
    ensembl = [
        sum(bool(ENSEMBL.match(name)) for name in side[:100]) * 2 > min(100, len(side)) for side in (names, columns)
    ]
    if ensembl[0] != ensembl[1]:
        kinds = ["Ensembl ids" if side else "symbols" for side in ensembl]
        return f" The query has {kinds[0]}, the reference {kinds[1]}."
    if all(ensembl):
        return " Both have Ensembl ids: gene_key='gene_ids' (or any name) compares them without their version."
    if len(columns.str.upper().intersection(names.str.upper())) * 2 >= min(len(names), len(columns)):
        return " They differ in upper and lower case, as symbols of human and mouse do."
    return ""
