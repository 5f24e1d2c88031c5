"""A file of a public address, fetched once and checked."""

from __future__ import annotations

from pathlib import Path


def cache() -> Path:
    """Return the folder in which what was fetched is kept."""
    import pooch

    return Path(pooch.os_cache("bleep_sc"))


def fetched(url: str, sha256: str, *, remedy: str, folder: Path | None = None) -> Path:
    """Return a file under its own name, downloaded where it is not kept; ``remedy`` is said where it cannot be.

    What has another checksum is refused, and not kept.
    """
    import pooch

    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", fname=url.rpartition("/")[2], path=folder or cache()))
    except OSError as error:
        raise OSError(f"{url} could not be downloaded ({error}). {remedy}") from error
