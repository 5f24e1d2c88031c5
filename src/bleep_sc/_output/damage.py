"""What is said of stored things that cannot be what was written: one message, whatever library stumbles over them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WRONG = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
"""What libraries raise where bytes, names or sizes are wrong; too deep a nesting is a RuntimeError."""

SOUND = (FileNotFoundError, IsADirectoryError, PermissionError, BlockingIOError, MemoryError)
"""What says nothing against what is stored: it is elsewhere, not ours, in use or large."""


class DamagedError(ValueError):
    """Something stored is not what was written."""


def damaged(place: str, what: str) -> DamagedError:
    """Return the error that says so; ``place`` is where it is stored, ``what`` is wrong with it."""
    return DamagedError(f"{place} is damaged: {what}. Copy it again from where it is whole, or fit again.")


@contextmanager
def undamaged(place: str, part: str, *more: type[BaseException]) -> Iterator[None]:
    """Say that a part of what is stored is damaged, where reading it fails with ``WRONG`` or ``more``."""
    try:
        yield
    except (DamagedError, *SOUND):
        raise
    except (*WRONG, *more) as error:  # type: ignore[misc]
        said = str(error).strip().splitlines() or [""]
        raise damaged(place, f"{part} cannot be read ({type(error).__name__}: {said[0][:200]})") from error


def from_json(text: Any, place: str, part: str) -> dict[str, Any]:
    """Read a dict that was written as JSON."""
    with undamaged(place, part):
        content = json.loads(str(text))
    if not isinstance(content, dict):
        raise damaged(place, f"{part} holds {type(content).__name__} instead of named values")
    return content
