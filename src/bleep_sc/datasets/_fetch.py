"""Finding the files of a data set: in `BLEEP_SC_DATA`, or downloaded once, with checksums."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bleep_sc._output.messages import listed
from bleep_sc._published.download import fetched

if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE = "BLEEP_SC_DATA"


@dataclass(frozen=True)
class Remote:
    """A public original."""

    path: str
    """Below the address of its data set."""
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where the files of a data set are, at home and in public."""

    name: str
    """Folder below ``BLEEP_SC_DATA``."""
    local: tuple[str, ...]
    """Files of a section there; ``{}`` stands for the section."""
    url: str
    remote: dict[str, tuple[Remote, ...]]
    """Files of the known sections, in the order of ``local``."""

    def find(self, section: str) -> list[Path]:
        """Return the files of a section, in the order of ``local``."""
        root = os.environ.get(VARIABLE)
        if root is not None:
            return self._find_locally(section, Path(root) / self.name)
        if section not in self.remote:
            raise ValueError(
                f"Section {section!r} of {self.name} is not known (known: {listed(self.remote)}). For your own files, "
                f"set {VARIABLE} to a folder with {self._layout(section)} in it."
            )
        return [self._download(remote) for remote in self.remote[section]]

    def _layout(self, section: str) -> str:
        return ", ".join(f"{self.name}/{pattern.format(section)}" for pattern in self.local)

    def _find_locally(self, section: str, folder: Path) -> list[Path]:
        paths = [folder / pattern.format(section) for pattern in self.local]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"Section {section!r} of {self.name}: {listed(missing)} not found. {VARIABLE} must hold "
                f"{self._layout(section)}; unset it to download the public originals."
            )
        return paths

    def _download(self, remote: Remote) -> Path:
        remedy = (
            f"Download the files of {self.name} by hand and set {VARIABLE} to a folder that holds them as "
            f"{self._layout('SECTION')}."
        )
        return fetched(self.url + remote.path, remote.sha256, remedy=remedy)


def as_sections(sections: str | Sequence[str]) -> list[str]:
    """Return one section or several as a list, without repetitions."""
    names = [sections] if isinstance(sections, str) else list(sections)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"sections={names} must name at least one section, and none twice.")
    return names
