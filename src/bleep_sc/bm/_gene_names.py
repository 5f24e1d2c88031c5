"""Genes of a model from elsewhere by the names of a comparison."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.messages import listed
from bleep_sc.tl._references.genes import ENSEMBL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def match_names(wanted: Sequence[str], names: Sequence[str]) -> NDArray[np.intp]:
    """Return for every name wanted where it is among others, -1 where it is not.

    As it is, or else, where that is told apart on both sides, without regard to case and to the version of Ensembl ids.
    """
    exact = {name: place for place, name in enumerate(names)}
    if twice := [name for name, times in Counter(names).items() if times > 1 and name in set(wanted)]:
        raise ValueError(f"The model names genes several times: {listed(twice, 3)}. Leave one column of each.")
    alike, asked = [_plain(name) for name in names], [_plain(name) for name in wanted]
    times, times_asked = Counter(alike), Counter(asked)
    plain = {name: place for place, name in enumerate(alike) if times[name] == times_asked[name] == 1}
    found = [exact.get(name, plain.get(other, -1)) for name, other in zip(wanted, asked, strict=True)]
    return np.array(found, dtype=np.intp)


def _plain(name: str) -> str:
    return ENSEMBL.sub(r"\1", name).upper()
