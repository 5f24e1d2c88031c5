"""What a held-out slide asks of a method: to know another donor, or another section of a donor it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bleep_sc.bm._folds import Split

ANOTHER_DONOR, SAME_DONOR, NOT_TOLD = (
    "another donor",
    "another section of the same donor",
    "another slide (donors not told)",
)
QUESTIONS = (ANOTHER_DONOR, SAME_DONOR, NOT_TOLD)
"""From the hardest on; answers to different ones are never averaged."""


def tell_of_shared_donors(data: Split) -> None:
    """Say in the log which slides are predicted from others of their own donor."""
    shared = [slide for slide, (_, same) in _donor_of_slides(data).items() if same]
    if shared:
        logger.warning(
            "Other slides of the same donor are trained on where %s are held out: that asks for another section, not "
            "for another donor. Pass group_key=, the column of the donors, to hold these out whole.",
            listed(shared),
        )


def with_donors(table: pd.DataFrame, data: Split) -> pd.DataFrame:
    """Add the donor of every held-out slide, and whether slides of the same donor were trained on; NA if not told."""
    place = table.columns.get_loc("library") + 1
    known = _donor_of_slides(data)
    said = [known.get(slide, (None, None)) for slide in table["library"]]
    table.insert(place, "donor", pd.Series([donor for donor, _ in said], dtype=object))
    table.insert(place + 1, "same_donor", pd.array([same for _, same in said], dtype="boolean"))
    return table


def _donor_of_slides(data: Split) -> dict[str, tuple[str, bool]]:
    """Return the donor of every slide, and whether other groups have slides of it; none where they are not told."""
    if data.donors is None:
        return {}
    group = dict(zip(data.slides.tolist(), data.groups.tolist(), strict=True))
    groups = pd.Series(group).groupby(pd.Series(data.donors)).nunique()
    return {slide: (donor, bool(groups[donor] > 1)) for slide, donor in data.donors.items()}


def questions(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Return what the slides of a comparison were held out from, and the rows of each."""
    missing = [name for name in ("donor", "same_donor") if name not in table]
    if missing:
        raise KeyError(
            f"table= lacks {listed(missing)}. Pass what bleep_sc.bm.cross_validate(donor_key=) returned; runs in its "
            "path= are not run again."
        )
    same = table["same_donor"].astype("boolean")
    asked = np.select([same.isna(), same.fillna(value=False)], [NOT_TOLD, SAME_DONOR], ANOTHER_DONOR)
    return ((question, table[asked == question]) for question in QUESTIONS if (asked == question).any())
