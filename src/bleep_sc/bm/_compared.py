"""Methods as they are given to a comparison: by name, as functions, or both; or what is wrong with them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bleep_sc._output.arguments import shown
from bleep_sc._output.messages import a, did_you_mean, listed
from bleep_sc.bm._methods import known_names
from bleep_sc.bm._methods import methods as methods_of_the_package

if TYPE_CHECKING:
    from bleep_sc.bm._methods import Compared

RESERVED = ("permuted", "noise ceiling", "measured", "counts")
"""What tables and figures call other things than methods."""


def named_methods(
    methods: str | Compared | Sequence[str | Compared] | Mapping[str, Compared],
    *,
    use_rep: Sequence[str],
    patches_key: str,
) -> dict[str, Compared]:
    """Return what is to be compared by its name; names of the package's methods become these, on the same images."""
    if isinstance(methods, str) or callable(methods):
        methods = [methods]
    if not isinstance(methods, Mapping | Sequence):
        raise TypeError(
            f"methods={shown(methods)} must be names of the package's methods, functions (train, query), or a dict of "
            f"functions by name, and is {a(type(methods).__name__)}."
        )
    if not methods:
        raise ValueError(
            f"methods={methods!r} is empty. Pass names such as ['mean', 'ridge'], or functions (train, query)."
        )
    if not isinstance(methods, Mapping):
        methods = _by_name(methods, use_rep, patches_key)
    for name, method in methods.items():
        _check(name, method)
    return dict(methods)


def _by_name(given: Sequence[Any], use_rep: Sequence[str], patches_key: str) -> dict[str, Any]:
    names = [_name(each) for each in given]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"methods= has several that are called {listed(twice)}. Pass a dict of functions by name.")
    named = [each for each in given if isinstance(each, str)]
    known = known_names()
    if unknown := [name for name in named if name not in known]:
        raise ValueError(
            f"methods= has {listed(unknown)}, which is no method of the package.{did_you_mean(unknown, known)} It has: "
            f"{', '.join(known)}. Functions of your own are passed themselves."
        )
    of_package = methods_of_the_package(named, use_rep=list(use_rep) or None, patches_key=patches_key)
    return {name: of_package.get(name, each) for name, each in zip(names, given, strict=True)}


def _name(method: Any) -> str:
    """Return what a method is called: a name, or a function by its own."""
    if isinstance(method, str):
        return method
    called = method.func if isinstance(method, functools.partial) else method
    name = getattr(called, "__name__", type(called).__name__)
    if not name.isidentifier():
        raise ValueError(f"methods= has a function without a name ({name}). Pass a dict: {{'mine': function}}.")
    return str(name)


def _check(name: Any, method: Any) -> None:
    """Refuse what is no method, or has no name of its own."""
    if not isinstance(name, str) or not name.strip():
        raise TypeError(f"methods= has the name {name!r}; names are texts that are not empty.")
    if name in RESERVED:
        raise ValueError(f"methods= has {name!r}, which stands for something else in the tables. Rename it.")
    what = f"methods[{name!r}]={shown(method)}"
    if isinstance(method, str):
        raise TypeError(
            f"{what} is a name and no function. Pass methods=[{method!r}] for a method of the package, or "
            "bleep_sc.bm.methods(...) with functions of your own added to it."
        )
    remedy = "Pass a function (train, query) that returns an array (n_query, n_genes): docs, Evaluate a method."
    if not callable(method):
        raise TypeError(f"{what} is {a(type(method).__name__)}, which cannot be called. {remedy}")
    try:
        signature = inspect.signature(method)
    except ValueError:  # of some that are written in C
        return
    seed = {"random_state": 0} if "random_state" in signature.parameters else {}
    try:
        signature.bind("train", "query", **seed)
    except TypeError as error:
        raise TypeError(f"{what} takes {signature}, and is called with (train, query): {error}. {remedy}") from None
