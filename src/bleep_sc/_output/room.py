"""What is said where nothing more can be written, or nothing at all."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Of a full disk, and of a quota that is used up."""
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
"""Of places where nothing may be written, or in a file that was taken for a folder."""
SAID = "The disk is full"


@contextmanager
def room(remedy: Callable[[], str]) -> Iterator[None]:
    """Say what to do when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or str(error.strerror).startswith(SAID):
            raise
        raise OSError(errno.ENOSPC, f"{SAID} ({error.strerror}). {remedy()}") from error


@contextmanager
def open_to_writing(folder: Path) -> Iterator[None]:
    """Say what to do where nothing may be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in CLOSED:
            raise
        refused = f"{str(folder)!r} cannot be written to ({error.strerror}). Pass a path elsewhere."
        raise OSError(error.errno, refused) from error
