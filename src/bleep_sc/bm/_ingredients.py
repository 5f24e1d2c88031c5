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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

MAKES_NO_DIFFERENCE = ("show_progress_bar",)
UNTOLD, CHANGES = "cannot be told", "changes as it runs"
OF_PACKAGES = {"site-packages", "dist-packages"}
"""Folders that installed packages are in; what lies elsewhere, as what is installed to be edited, is a user's."""


def made_with(method: Any) -> dict[str, str]:
    """Return what a method was made with, by name: its function, what a partial binds, and what it reads.

    What cannot be told from another of its kind, such as an open file, is ``UNTOLD``.
    """
    if isinstance(method, functools.partial):
        bound = {str(place): value for place, value in enumerate(method.args)} | method.keywords
        parts = {**made_with(method.func), **{name: _told(value, {}) for name, value in bound.items()}}
    elif isinstance(method, types.FunctionType) and not _is_installed(method):
        parts = {name: _told(value, {id(method): method}) for name, value in _read_by(method).items()}
    else:
        parts = {"function": _told(method, {})}
    return {name: part for name, part in parts.items() if name not in MAKES_NO_DIFFERENCE}


def of_both(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return what a method was made with, where what it changes itself as it runs, such as a counter, has no print."""
    return {name: part if after.get(name) == part else CHANGES for name, part in before.items()}


def _read_by(function: types.FunctionType) -> dict[str, Any]:
    """Return a function's code with its defaults, and what it reads of its module and closes over, by name."""
    code = function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    names = _named_in(code, "LOAD_GLOBAL")
    read = {
        **{name: _imported(name) for name in _named_in(code, "IMPORT_NAME")},
        **{name: function.__globals__[name] for name in names if name in function.__globals__},
        **{name: _content(cell) for name, cell in cells.items()},
    }
    own = {name: value for name, value in read.items() if isinstance(value, types.ModuleType) and _is_own(value)}
    values = {f"{name}.{each}": value for name, module in own.items() for each, value in _values(module).items()}
    files = {name: _bytes(module) for name, module in own.items()}
    return {"function": (code, function.__defaults__, function.__kwdefaults__), **read, **values, **files}


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a function that is not defined yet
        return None


def _imported(name: str) -> types.ModuleType | None:
    """Return a module that a function imports when it is called; None where there is none, which it may allow for."""
    try:
        return import_module(name)
    except Exception:  # noqa: BLE001 - a relative one, or whatever is wrong with it when it runs
        return None


def _named_in(code: types.CodeType, opname: str) -> list[str]:
    """Return the names that a function, and those within it, read from their module or import."""
    names = {each.argval for each in dis.get_instructions(code) if each.opname == opname}
    within = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return sorted(names.union(*(_named_in(each, opname) for each in within)))


def _told(value: Any, seen: dict[int, Any]) -> str:
    """Return the print of a value, or that it has none."""
    try:
        return _print(value, seen)
    except Exception:  # noqa: BLE001 - what cannot be copied or is too deep says so in many ways
        return UNTOLD


def _print(value: Any, seen: dict[int, Any]) -> str:
    """Return plain values as they are written, and others as a hash of all that is in them and was not ``seen``."""
    if isinstance(value, str | int | float | type(None)):
        return repr(value)
    if id(value) in seen:
        return f"no. {list(seen).index(id(value))}"
    seen[id(value)] = value
    parts = [_kind(value), *(_print(each, seen) for each in _inside(value))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _inside(value: Any) -> Iterable[Any]:
    """Return what tells a value from others of its kind; or raise, in whatever way, where that is not known."""
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


def _inside_of_code(value: Any) -> Iterable[Any]:
    """Return the version of what a package brought, and the code of what the user wrote."""
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.ModuleType) and _is_own(value):
        return [value.__name__, _bytes(value), _values(value)]
    if isinstance(value, types.ModuleType) or _is_installed(value):
        module = value if isinstance(value, types.ModuleType) else inspect.getmodule(value)
        package = import_module(module.__name__.partition(".")[0]) if module else None
        return [getattr(value, "__qualname__", value.__name__), getattr(package, "__name__", ""), _version(package)]
    if isinstance(value, types.FunctionType):
        return [part for pair in _read_by(value).items() for part in pair]
    bound = {name: getattr(each, "__func__", getattr(each, "fget", each)) for name, each in vars(value).items()}
    methods = {name: each for name, each in bound.items() if isinstance(each, types.FunctionType)}
    return [value.__qualname__, methods, _settings(value), *value.__bases__]


def _settings(kind: type) -> dict[str, Any]:
    """Return the plain values that a class holds."""
    plain = {name: each for name, each in vars(kind).items() if isinstance(each, str | int | float | tuple | list)}
    return {name: each for name, each in plain.items() if not name.startswith("__")}


def _is_installed(value: Any) -> bool:
    """Tell what is part of Python or of a package from what a user wrote."""
    module = sys.modules.get(getattr(value, "__module__", None) or "builtins")
    return module is not None and not _is_own(module)


def _is_own(module: types.ModuleType) -> bool:
    """Tell whether a user wrote a module."""
    top = module.__name__.partition(".")[0]
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
    return not OF_PACKAGES.intersection(Path(place).parts)


def _bytes(module: types.ModuleType) -> bytes:
    """Return what stands in the file of a module, where it has one."""
    file = getattr(module, "__file__", None)
    return Path(file).read_bytes() if file else b""


def _values(module: types.ModuleType) -> dict[str, Any]:
    """Return what a module holds, which may be another than its file says."""
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _version(module: Any) -> str:
    return str(getattr(module, "__version__", ""))


def _inside_of_data(value: Any) -> Iterable[Any]:
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
    kept = value.__reduce_ex__(2)  # what a copy of it is made of
    return [kept] if isinstance(kept, str) else [list(each) if isinstance(each, Iterator) else each for each in kept]
