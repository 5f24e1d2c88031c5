"""Files and folders that are there when they are complete, whenever the process that writes them is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bleep_sc._output.locks import take
from bleep_sc._output.room import open_to_writing, room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPE = "recipe.json"
"""Of a folder that takes long to write: what it depends on."""
MARK = ".bleep_sc-"
"""How names of folders of drafts begin."""
DRAFTS = f"{MARK}{socket.gethostname()}-"
"""Those of this machine; those of others are left alone, since their locks may not be seen here."""
LOCK, REPLACED, TRIES = "lock", "replaced", 20
"""What lies in one beside the drafts; how often to put away a folder that others replace at the same time."""


@contextmanager
def appears(path: Path, remedy: str = "", *, replace: bool = True) -> Iterator[Path]:
    """Give the place to write a file or a folder to, which is moved to ``path`` when the block has ended.

    What was at ``path`` is replaced, and stays where the block fails; without ``replace`` it is refused to take its
    place. ``remedy`` says what to do when the disk is full.
    """
    path = path.resolve()  # what a link leads to is replaced, and not the link
    remedy = remedy or f"Nothing was written to {str(path)!r}: make room and call again."
    is_there(path)
    with all_appear(path.parent, remedy, replace=replace) as drafts:
        yield drafts / path.name
        if not (drafts / path.name).exists():
            raise FileNotFoundError(f"Nothing was written for {str(path)!r}.")


@contextmanager
def all_appear(folder: Path, remedy: str, *, replace: bool = True) -> Iterator[Path]:
    """Give a place to write files and folders to, which are moved into ``folder`` when the block has ended.

    Files are flushed to the disk, and moved before folders are. Others may write the same at the same time: each has
    drafts of its own, and what is moved last stays; without ``replace`` what was moved first does. Drafts that a killed
    call left in ``folder`` are removed.
    """
    with room(lambda: remedy):
        with open_to_writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{DRAFTS}*"):
            with suppress(OSError):  # another call is removing it, or at work in it
                if _is_left(left):
                    _put_away(left)
                elif [each.name for each in left.iterdir()] == ["drafts"]:  # made again by a thread, after all was gone
                    shutil.rmtree(left)
                elif len(left.name) == len(DRAFTS) + 8:  # as tempfile calls them
                    left.rmdir()  # which removes what is empty alone
        with open_to_writing(folder):
            own, opened = _drafts_in(folder)
        try:
            with opened as lock:
                with suppress(OSError):  # of file systems without locks, where what is left stays
                    take(lock)
                    lock.truncate(1)
                drafts = own / "drafts"
                drafts.mkdir()
                yield drafts
                written = sorted(drafts.iterdir(), key=Path.is_dir)
                for draft in filter(Path.is_file, written):
                    with draft.open("rb+") as file:
                        os.fsync(file.fileno())
                for draft in written:
                    if not replace:
                        require_nothing(folder / draft.name)
                    _replace(folder / draft.name, draft, own / REPLACED)
        finally:
            _put_away(own)


def require_room(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse to write what does not fit, where writing it would crash: a memory map, or HDF5."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        sizes = f"{what} takes some {n_bytes / 2**20:,.0f} MiB, and {free / 2**20:,.0f} are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {sizes}")


def is_there(path: Path) -> bool:
    """Tell whether something is at ``path``; what a call was killed at replacing is put back first."""
    if not path.exists():
        for drafts in path.parent.glob(f"{MARK}*"):
            replaced = drafts / REPLACED / path.name
            # On another machine its writer may be alive: then it finds it there, and puts it away again.
            if replaced.exists() and (_is_left(drafts) or not drafts.name.startswith(DRAFTS)):
                with suppress(OSError):
                    os.replace(replaced, path)
    return path.exists()


def require_nothing(path: Path) -> None:
    """Refuse to write where something has appeared since it was looked at."""
    if path.exists():
        raise FileExistsError(f"{str(path)!r} has appeared meanwhile, and is kept. Pass another path, or remove it.")


def is_complete(path: Path, recipe: dict[str, Any], what: str) -> bool:
    """Tell whether a folder of this recipe is there; refuse what is something else."""
    if not is_there(path):
        return False
    before = read_json(path / RECIPE)
    if before is None:
        raise FileExistsError(f"{str(path)!r} exists and is no store of {what}. Pass another path to store=.")
    changed = [key for key in recipe if _plain(before.get(key)) != _plain(recipe[key])]
    if changed:
        raise FileExistsError(
            f"{str(path)!r} holds other {what}: {', '.join(changed)} differ. Pass another path to store=, or remove it."
        )
    return True


def draft_of(path: Path, recipe: dict[str, Any], begin: Callable[[Path], None], what: str) -> Path:
    """Return the folder beside ``path`` that an interrupted call of the same recipe left, or a new one."""
    draft = draft_path(path)
    if not is_complete(draft, recipe, f"unfinished {what}"):
        with appears(draft) as begun:
            begun.mkdir()
            begin(begun)
            write_json(begun / RECIPE, recipe)
    for partial in draft.rglob("*.partial"):  # what zarr was writing when it was killed
        partial.unlink()
    return draft


def draft_path(path: Path) -> Path:
    """Return where a folder lies until it is complete."""
    return path.with_name(path.name + ".part")


def complete(path: Path) -> None:
    """Move a folder to its place."""
    require_nothing(path)
    os.replace(draft_path(path), path)


def read_json(file: Path) -> dict[str, Any] | None:
    """Read what :func:`write_json` wrote; None where there is no such thing."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a file that is whole at any moment."""
    draft = file.with_name(file.name + ".part")
    draft.write_text(json.dumps(content))
    os.replace(draft, file)


def _plain(content: Any) -> str:
    """Return what can be compared, tuples like lists and NaN like NaN."""
    return json.dumps(content, sort_keys=True)


def _drafts_in(folder: Path) -> tuple[Path, IO[str]]:
    """Return a new folder of drafts, and the file in it that is to be locked."""
    while True:
        own = Path(tempfile.mkdtemp(prefix=DRAFTS, dir=folder))
        with suppress(FileNotFoundError):  # it was empty, and another call has taken it for what was left
            return own, (own / LOCK).open("w")


def _is_left(drafts: Path) -> bool:
    """Tell whether the call that made a folder of drafts was killed."""
    try:
        with (drafts / LOCK).open("r+") as lock:
            take(lock)
            return os.fstat(lock.fileno()).st_size > 0  # else it has just been made, and is not locked yet
    except OSError:
        return False


def _replace(path: Path, draft: Path, replaced: Path) -> None:
    """Move a draft to its place. A folder cannot be overwritten: the old one is put away, and missing for a moment."""
    if path.is_dir() and not draft.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, and would be lost with all in it. Pass another path.")
    for left in reversed(range(TRIES)):
        removed = replaced.with_name(f"removed {path.name} {left}")  # and so not wanted back
        if path.is_dir():
            replaced.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another call has put it away
                os.replace(path, replaced / path.name)
        try:
            os.replace(draft, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not left:
                raise
        if replaced.exists():
            os.replace(replaced, removed)
        if not draft.exists():
            return


def _put_away(drafts: Path) -> None:
    """Undo a replacement that was not completed, and remove the drafts and what was replaced."""
    for replaced in (drafts / REPLACED).glob("*"):
        path = drafts.parent / replaced.name
        if not path.exists():
            os.replace(replaced, path)
    for part in drafts.glob("*"):
        if part.name != LOCK:  # last: what has none is nobody's, and would stay where this is killed
            shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):
        (drafts / LOCK).unlink(missing_ok=True)
        try:
            drafts.rmdir()
        except OSError:  # a thread of a call that failed still writes: the next call knows it by its lock
            with (drafts / LOCK).open("w") as lock:
                lock.truncate(1)  # which takes no room, on a disk that is full
