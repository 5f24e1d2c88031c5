"""Making the next item while the last one is worked on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Give items in their order, while a thread makes the next one; what that raises is raised here, in its turn."""
    with ThreadPoolExecutor(1, "ahead") as reader:
        following = reader.submit(_next, items)
        while made := following.result():
            following = reader.submit(_next, items)
            yield made[0]


def _next(items: Iterator[T]) -> tuple[T] | None:
    """Return the next item in a tuple, or None: a future that raises StopIteration could not be told from its end."""
    for item in items:
        return (item,)
    return None
