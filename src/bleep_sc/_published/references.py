"""The index of references that are published, and their folders."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urljoin

from bleep_sc._output.damage import from_json, undamaged
from bleep_sc._output.disk import appears
from bleep_sc._output.messages import did_you_mean, listed, logger
from bleep_sc._published.download import cache, fetched

VARIABLE = "BLEEP_SC_REFERENCES"
ADDRESS = "https://huggingface.co/bleep-sc/references/resolve/main"
"""Of the folder with the index, unless the variable of the environment names another one."""
INDEX_FILE = "index.json"
FORMAT = 1
"""Of the index; later ones are refused."""
WAIT_S = 10
"""For the index."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
BY_HAND = (
    "Without a network, fetch the folder of a reference elsewhere and pass its path: "
    "bleep_sc.tl.load_reference(folder), on the command line --ref FOLDER. "
    f"{VARIABLE} names the address of another index."
)


@dataclass(frozen=True)
class Published:
    """A reference that is published, as the index describes it."""

    name: str
    """By which it is loaded; small letters, digits and hyphens."""
    title: str
    """What it is, in a line."""
    organism: str
    """Whose tissue it is."""
    organ: str
    """Which tissue it is."""
    technology: str
    """How expression was measured."""
    encoder: str
    """Of the images, by its name."""
    encoder_license: str
    """As far as bleep_sc knows it."""
    slides: int
    """How many there are."""
    donors: int
    """How many there are."""
    spots: int
    """How many there are."""
    genes: int
    """How many are read off."""
    held_out: str
    """What was held out as a whole when the scores were found."""
    scores: dict[str, float]
    """Mean Pearson r of the default over genes of the held-out slides, and of baselines."""
    license: str
    """Of the data."""
    citation: str
    """What to cite for the data."""
    address: str
    """Of the folder, absolute or below the index."""
    files: dict[str, str]
    """sha256 of every file of the folder."""
    n_bytes: int
    """Of all files."""

    def __post_init__(self) -> None:
        """Refuse values of other kinds, and names that lead out of a folder."""
        for name, kind in get_type_hints(type(self)).items():
            kind = dict if name in ("scores", "files") else kind
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} holds {type(getattr(self, name)).__name__}")
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a reference")
        if not self.files or any(Path(file).name != file or file.startswith(".") for file in self.files):
            raise ValueError(f"{self.name!r} has files {listed(self.files)}")

    def folder(self) -> Path:
        """Return its folder, with files that are downloaded once and checked."""
        digest = hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()
        path = cache() / "references" / f"{self.name}-{digest[:8]}"
        for file, sha256 in self.files.items():
            fetched(urljoin(f"{root()}/", f"{self.address.rstrip('/')}/{file}"), sha256, folder=path, remedy=BY_HAND)
        return path


def root() -> str:
    """Return the address of the folder with the index, as it is set."""
    address = os.environ.get(VARIABLE, ADDRESS).rstrip("/")
    if not address.startswith(("https://", "http://")):
        raise ValueError(
            f"{VARIABLE}={address!r} must be an address that begins with https:// or http://. A folder with a single "
            "reference needs no index: bleep_sc.tl.load_reference(folder)."
        )
    return address


def index() -> list[Published]:
    """Return the references of the index: as it is, or as it was when it was last reached."""
    place = f"{root()}/{INDEX_FILE}"
    content = from_json(_text(place), place, "the index")
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{place} is an index of format {content.get('format')!r}, and this version of bleep_sc reads {FORMAT}. "
            "Update bleep_sc."
        )
    known = {each.name for each in fields(Published)}
    with undamaged(place, "the index"):
        entries: list[dict[str, Any]] = content["references"]
        return [Published(**{name: value for name, value in each.items() if name in known}) for each in entries]


def published(name: str) -> Published:
    """Return a reference of the index by its name."""
    try:
        every = {each.name: each for each in index()}
    except OSError as error:
        error.add_note(f"Nothing is called {name!r} here, so that a published reference was asked for.")
        raise
    if name not in every:
        raise ValueError(
            f"{name!r} is neither here nor in the index of {root()} (it has: {listed(every)})."
            f"{did_you_mean([name], every)} bleep_sc.datasets.references() describes them."
        )
    return every[name]


def _text(place: str) -> str:
    """Return the text of the index, and keep it for when it is not reached."""
    import pooch

    kept = cache() / "references" / f"index-{hashlib.sha256(place.encode()).hexdigest()[:8]}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        with appears(kept) as draft:
            pooch.HTTPDownloader(timeout=WAIT_S)(place, str(draft), None)
    except OSError as error:
        if not kept.is_file():
            raise OSError(f"The index of references, {place}, could not be read ({error}). {BY_HAND}") from error
        logger.info("%s could not be read (%s); what it said when it was last read is taken.", place, error)
    with undamaged(place, "the index"):
        return kept.read_text(encoding="utf-8")
