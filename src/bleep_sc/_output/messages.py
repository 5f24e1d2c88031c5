"""What is said to the user: log, progress bars, and names in error messages."""

import logging
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
