"""Files and folders that are there when they are complete, whenever the process that writes them is killed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECIPE = "recipe.json"
"""Of a folder that takes long to write: what it depends on."""


@contextmanager
def appears(path: Path) -> Iterator[Path]:
    """Give the place beside ``path`` to write a file or a folder to, which is moved there when the block has ended.

    What a killed call left is removed first, and the draft where the block fails. What was at ``path`` is replaced.
    """
    path = path.resolve()  # what a link leads to is replaced, and not the link
    draft, replaced = (path.with_name(f".{path.name}.{kind}") for kind in ("part", "old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    _put_back(replaced, path)
    _remove(draft)
    try:
        with room(lambda: f"Nothing was written to {str(path)!r}: make room and call again."):
            yield draft
        if path.is_dir():  # which can neither be overwritten nor be removed at once
            os.replace(path, replaced)
        os.replace(draft, path)
    finally:
        _put_back(replaced, path)
        _remove(draft)


def require_room(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse to write what does not fit, where writing it would crash: a memory map, or HDF5."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        sizes = f"{what} takes some {n_bytes / 2**20:,.0f} MiB, and {free / 2**20:,.0f} are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {sizes}")


@contextmanager
def room(remedy: Callable[[], str]) -> Iterator[None]:
    """Say what to do when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(errno.ENOSPC, f"The disk is full ({error.strerror}). {remedy()}") from error


def is_complete(path: Path, recipe: dict[str, Any], what: str) -> bool:
    """Tell whether a folder of this recipe is there; refuse what is something else."""
    if not path.exists():
        return False
    before = read_json(path / RECIPE)
    if before is None:
        raise FileExistsError(f"store={str(path)!r} exists and is no store of {what}. Pass another path.")
    changed = [key for key in recipe if _plain(before.get(key)) != _plain(recipe[key])]
    if changed:
        raise FileExistsError(
            f"store={str(path)!r} holds other {what}: {', '.join(changed)} differ. Pass another path, or remove it."
        )
    return True


def draft_of(path: Path, recipe: dict[str, Any], begin: Callable[[Path], None]) -> Path:
    """Return the folder beside ``path`` that an interrupted call of the same recipe left, or a new one."""
    draft = draft_path(path)
    before = read_json(draft / RECIPE)
    if before is None or _plain(before) != _plain(recipe):
        _remove(draft)
        draft.mkdir(parents=True)
        begin(draft)
        write_json(draft / RECIPE, recipe)  # last: a folder with a recipe is whole
    for partial in draft.rglob("*.partial"):  # what zarr was writing when it was killed
        partial.unlink()
    return draft


def draft_path(path: Path) -> Path:
    """Return where a folder lies until it is complete."""
    return path.with_name(path.name + ".part")


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


def _put_back(replaced: Path, path: Path) -> None:
    """Undo a replacement that was not completed, or forget what was replaced."""
    if replaced.exists() and not path.exists():
        os.replace(replaced, path)
    _remove(replaced)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
