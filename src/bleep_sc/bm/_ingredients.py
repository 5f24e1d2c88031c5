"""What a method was made with: its code and all that it reads, so that runs of another one are never taken for its."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

MAKES_NO_DIFFERENCE = ("show_progress_bar",)
UNTOLD, CHANGES = "cannot be told", "changes as it runs"


def made_with(method: Any) -> dict[str, str]:
    """Return what a method was made with, by name: its function, what a partial binds, and what it reads.

    What cannot be told from another of its kind, such as an open file, is ``UNTOLD``.
    """
    if isinstance(method, functools.partial):
        bound = {str(place): value for place, value in enumerate(method.args)} | method.keywords
        parts = {**made_with(method.func), **{name: _print(value, {}) for name, value in bound.items()}}
    elif isinstance(method, types.FunctionType) and not _is_installed(method):
        parts = {name: _print(value, {id(method): method}) for name, value in _read_by(method).items()}
    else:
        parts = {"function": _print(method, {})}
    return {name: part for name, part in parts.items() if name not in MAKES_NO_DIFFERENCE}


def of_both(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return what a method was made with, where what it changes itself as it runs, such as a counter, has no print."""
    return {name: part if after.get(name) == part else CHANGES for name, part in before.items()}


def _read_by(function: types.FunctionType) -> dict[str, Any]:
    """Return a function's code with its defaults, and what it reads of its module and closes over, by name."""
    code = function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    return {
        "function": (code, function.__defaults__, function.__kwdefaults__),
        **{name: function.__globals__[name] for name in _globals_of(code) if name in function.__globals__},
        **{name: _content(cell) for name, cell in cells.items()},
    }


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a function that is not defined yet
        return None


def _globals_of(code: types.CodeType) -> list[str]:
    """Return the names that a function, and those within it, read from their module."""
    names = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    within = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return sorted(names.union(*map(_globals_of, within)))


def _print(value: Any, seen: dict[int, Any]) -> str:
    """Return plain values as they are written, and others as a hash of all that is in them and was not ``seen``."""
    if isinstance(value, str | int | float | type(None)):
        return repr(value)
    if id(value) in seen:
        return f"no. {list(seen).index(id(value))}"
    seen[id(value)] = value
    inside = _inside(value)
    parts = [UNTOLD] if inside is None else [_kind(value), *(_print(each, seen) for each in inside)]
    return UNTOLD if UNTOLD in parts else hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _inside(value: Any) -> Iterable[Any] | None:
    """Return what tells a value from others of its kind; None where that is not known."""
    if isinstance(value, bytes | complex | bool | np.generic | range | slice):
        return [repr(value)]
    if isinstance(value, types.ModuleType | type | types.BuiltinFunctionType | types.FunctionType | types.MethodType):
        return _inside_of_code(value)
    if isinstance(value, types.CodeType):
        return [value.co_code.hex(), *value.co_names, *value.co_varnames, *value.co_consts]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, Mapping):
        return [part for name in sorted(value, key=repr) for part in (name, value[name])]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return value
    return _inside_of_data(value)


def _inside_of_code(value: Any) -> Iterable[Any] | None:
    """Return the version of what a package brought, and the code of what the user wrote."""
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.ModuleType) or _is_installed(value):
        module = value if isinstance(value, types.ModuleType) else inspect.getmodule(value)
        package = import_module(module.__name__.partition(".")[0]) if module else None
        return [getattr(value, "__qualname__", value.__name__), getattr(package, "__name__", ""), _version(package)]
    if isinstance(value, types.FunctionType):
        return [part for pair in _read_by(value).items() for part in pair]
    methods = {name: each for name, each in vars(value).items() if isinstance(each, types.FunctionType)}
    return [value.__qualname__, methods, *value.__bases__]


def _is_installed(value: Any) -> bool:
    """Tell what is part of Python or of a package with a version from what a user wrote."""
    top = (getattr(value, "__module__", None) or "builtins").partition(".")[0]
    return top != "__main__" and (top in sys.stdlib_module_names or bool(_version(sys.modules.get(top))))


def _version(module: Any) -> str:
    return str(getattr(module, "__version__", ""))


def _inside_of_data(value: Any) -> Iterable[Any] | None:
    """Return the numbers of arrays and tables, and what objects keep in their fields."""
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return [value.shape, value.ravel().tolist()]
        return [value.shape, value.dtype.str, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if sparse.issparse(value):
        whole = value.tocsr()
        return [value.shape, whole.data, whole.indices, whole.indptr]
    if isinstance(value, pd.DataFrame):
        return [value.index, *(part for name in value for part in (name, value[name]))]
    if isinstance(value, pd.Series | pd.Index):
        return [str(value.dtype), value.name, np.asarray(value)]
    if isinstance(value, AnnData):
        return [value.X, value.obs, value.var, *map(dict, (value.obsm, value.layers, value.uns))]
    try:
        kept = value.__reduce_ex__(2)  # what a copy of it is made of
    except TypeError:
        return None
    return [kept] if isinstance(kept, str) else [list(each) if isinstance(each, Iterator) else each for each in kept]
