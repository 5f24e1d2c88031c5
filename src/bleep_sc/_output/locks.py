"""Locks that end with the process that took them, and who holds one."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bleep_sc._output.room import open_to_writing, room

if TYPE_CHECKING:
    from collections.abc import Iterator

TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What a lock that another process has is refused with; what else is said comes from file systems without locks."""
MINE: set[Path] = set()
"""What this process holds: it would be given its own locks a second time."""
ALONE = threading.Lock()
"""Held while a thread looks into ``MINE`` and adds to it."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep others from writing to ``path`` while the block lasts, or refuse to write where another process does.

    The lock is a file beside it, which goes with the block; one that a killed process left is taken over.
    """
    path = path.resolve()
    with ALONE:
        if path in MINE:
            raise _taken(path, _name())
        MINE.add(path)
    try:
        with open_to_writing(path.parent), room(lambda: "Make room and call again."):
            path.parent.mkdir(parents=True, exist_ok=True)
        place = path.with_name(f".bleep_sc-{path.name}.lock")
        with _locked(place, path):
            try:
                yield
            finally:
                with suppress(OSError):  # of systems that keep what is open, where it stays and is in nobody's way
                    place.unlink()
    finally:
        MINE.discard(path)


@contextmanager
def _locked(place: Path, path: Path) -> Iterator[None]:
    """Hold the file ``place``, which then says who holds it."""
    while True:
        with open_to_writing(path.parent), room(lambda: "Make room and call again."):
            file = place.open("a+", encoding="utf-8")
        with file:
            try:
                take(file, of_process=True)
            except OSError as error:
                if error.errno in TAKEN:
                    file.seek(0)
                    raise _taken(path, file.read() or "another process") from None
            try:
                if not os.path.samestat(os.fstat(file.fileno()), place.stat()):
                    continue  # it was taken from another process, which has just removed it
            except FileNotFoundError:
                continue
            with suppress(OSError):  # of a full disk: it is held without a name
                file.truncate(0)
                file.write(_name())
                file.flush()
            yield
            return


def take(file: IO[str], *, of_process: bool = False) -> None:
    """Take a lock that ends with the file, or with this process and not with those forked from it; or raise OSError."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(2**30)  # what is locked cannot be read, and the beginning says who locks it
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)
    else:
        import fcntl

        (fcntl.lockf if of_process else fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(path: Path, holder: str) -> FileExistsError:
    return FileExistsError(
        f"{str(path)!r} is being written by {holder}. Wait until it is through, or pass another path."
    )
