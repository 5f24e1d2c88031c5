"""What a function wrote into an AnnData, said in the log when it is done."""

from __future__ import annotations

import functools
import inspect
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from bleep_sc._output.messages import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

F = TypeVar("F", bound="Callable[..., Any]")

PLACES = ("obs", "var", "obsm", "varm", "layers", "uns")
_is_inner: ContextVar[bool] = ContextVar("is_inner", default=False)


def tell_what_is_written(package: dict[str, Any]) -> None:
    """Let the functions of a package, given by its ``globals()``, log what they wrote: those that take ``copy=``."""
    for name in package["__all__"]:
        function = package[name]
        if inspect.isfunction(function) and "copy" in inspect.signature(function).parameters:
            package[name] = _telling(function, f"{package['__name__'].removeprefix('bleep_sc.')}.{name}")


def _telling(function: F, name: str) -> F:
    @functools.wraps(function)
    def call(adata: AnnData, *args: Any, **kwargs: Any) -> Any:
        if _is_inner.get() or not isinstance(getattr(adata, "obs", None), pd.DataFrame):
            return function(adata, *args, **kwargs)
        before, start = _held(adata), time.perf_counter()
        token = _is_inner.set(True)  # what calls others says it once
        try:
            result = function(adata, *args, **kwargs)
        finally:
            _is_inner.reset(token)
        written = _changes(before, _held(adata if result is None else result))
        if written:
            seconds = time.perf_counter() - start
            logger.info("%s: %s spots in %.1f s. Written: %s.", name, f"{adata.n_obs:,}", seconds, ", ".join(written))
        return result

    return call  # type: ignore[return-value]


def _held(adata: AnnData) -> dict[str, dict[str, Any]]:
    """Return what an AnnData holds, by place and name."""
    return {place: {name: getattr(adata, place)[name] for name in getattr(adata, place)} for place in PLACES}


def _changes(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is there that was not, or was written again."""
    return [
        f"{place}[{name!r}]"
        for place, held in after.items()
        for name, value in held.items()
        if name is not None and not (name in before[place] and _is_same(before[place][name], value))
    ]


def _is_same(before: Any, after: Any) -> bool:
    """Tell whether nothing was written in a place: columns are the same where they lie in the same memory."""
    if not isinstance(before, pd.Series):
        return before is after
    if not before.equals(after):
        return False
    in_numpy = all(isinstance(each.dtype, np.dtype) for each in (before, after))
    return not in_numpy or np.shares_memory(before.to_numpy(), after.to_numpy())
