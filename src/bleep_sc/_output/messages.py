"""What is said to the user: log, progress bars, and names in error messages."""

import difflib
import logging
import sys
import warnings
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # of notebooks without ipywidgets, which then have no bars
    from tqdm.auto import tqdm

logger = logging.getLogger("bleep_sc")

T = TypeVar("T")

MISTYPED = 4
"""Names, at most, for which others are proposed."""


def progress(items: Iterable[T], description: str, *, show: bool = True, total: int | None = None) -> "tqdm[T]":
    """Iterate with a progress bar in terminals and notebooks; log files are spared."""
    return tqdm(items, desc=description, disable=None if show else True, total=total, leave=False)


def listed(names: Iterable[Any], limit: int = 8) -> str:
    """Names for an error message, the first few of many."""
    quoted = [repr(str(name)) for name in names]
    if not quoted:
        return "none"
    rest = len(quoted) - limit
    return ", ".join(quoted[:limit]) + (f" and {rest} more" if rest > 0 else "")


def did_you_mean(names: Iterable[Any], known: Iterable[Any], cutoff: float = 0.6) -> str:
    """Return a sentence of the names that are like some that are not known, by their letters; empty where none is."""
    lower = {str(each).lower(): str(each) for each in known}
    found = [difflib.get_close_matches(str(name).lower(), lower, n=2, cutoff=cutoff) for name in list(names)[:MISTYPED]]
    close = dict.fromkeys(lower[each] for some in found for each in some)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""


def a(kind: str) -> str:
    """Return a word with its article."""
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def columns_with(obs: Any, values: Iterable[Any]) -> list[str]:
    """Return the columns of a table that hold all of some values: those that were meant, where a name is asked for."""
    texts = {str(value) for value in values}
    return [str(name) for name in obs if texts and texts <= set(obs[name].astype(str).unique())]


def warn(message: str) -> None:
    """Warn at the line that called this package, however deep in it that is found."""
    frame, level = sys._getframe(1), 2
    while frame.f_globals.get("__name__", "").partition(".")[0] == __package__.partition(".")[0] and frame.f_back:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
