"""Checks at the boundary, whose errors say what is wrong, what exists and which call mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData


def listed(names: Any, limit: int = 8) -> str:
    """Names for an error message, the first few of many."""
    names = [repr(str(name)) for name in names]
    if not names:
        return "none"
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def require_obsm(adata: AnnData, key: str, remedy: str) -> Any:
    """Return ``adata.obsm[key]``, or raise a KeyError that names the remedy."""
    if key not in adata.obsm:
        raise KeyError(f"obsm[{key!r}] not found (adata.obsm has: {listed(adata.obsm)}). {remedy}")
    return adata.obsm[key]


def require_obs(adata: AnnData, key: str, remedy: str) -> Any:
    """Return ``adata.obs[key]``, or raise a KeyError that names the remedy."""
    if key not in adata.obs:
        raise KeyError(f"obs[{key!r}] not found (adata.obs has: {listed(adata.obs)}). {remedy}")
    return adata.obs[key]
