"""What is said to the user: log, progress bars, and names in error messages."""

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


def warn(message: str) -> None:
    """Warn at the line that called this package, however deep in it that is found."""
    frame, level = sys._getframe(1), 2
    while frame.f_globals.get("__name__", "").partition(".")[0] == __package__.partition(".")[0] and frame.f_back:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
