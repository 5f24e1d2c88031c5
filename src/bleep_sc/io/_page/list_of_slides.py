"""The slides of a cohort as a table that sorts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bokeh.models import LayoutDOM

ROW_PX, HIGHEST_PX = 84, 900
NUMBERS = {
    "readable": ("genes to read", "0,0"),
    "best": ("best r", "0.00"),
    "foreign": ("foreign", "0%"),
    "unsure": ("unsure", "0%"),
    "places": ("places", "0,0"),
    "blurred": ("out of focus", "0,0"),
}
"""Fields of a slide, how their columns are called, and how they are written."""
PICTURE = '<img src="<%- value %>" style="max-height:76px;max-width:100px" alt="">'
WRAPPED = '<div style="white-space:normal;max-height:80px;overflow:auto"><%- value %></div>'
LINK = '<a href="<%- page %>"><%- value %></a>'


def list_of_slides(slides: Sequence[dict[str, Any]]) -> LayoutDOM:
    """Return a table with a row for every slide, as :mod:`bleep_sc.io._page.in_short` describes them."""
    from bokeh.models import ColumnDataSource, DataTable, HTMLTemplateFormatter, NumberFormatter, TableColumn

    notes = list(dict.fromkeys(note for slide in slides for note in slide["notes"]))
    data: dict[str, Any] = {key: [slide[key] for slide in slides] for key in ("slide", "thumbnail")}
    data["page"] = [quote(slide["page"]) for slide in slides]
    data["warnings"] = ["; ".join(slide["warnings"]) for slide in slides]
    data |= {key: np.array([slide[key] for slide in slides], dtype=np.float64) for key in NUMBERS}
    data |= {f"note{i}": [slide["notes"].get(note, "") for slide in slides] for i, note in enumerate(notes)}
    # What is to be known first is to the left: of these a phone shows the picture, the name and the warnings.
    columns = [
        TableColumn(
            field="thumbnail", title="", width=108, sortable=False, formatter=HTMLTemplateFormatter(template=PICTURE)
        ),
        TableColumn(field="slide", title="slide", width=130, formatter=HTMLTemplateFormatter(template=LINK)),
        TableColumn(field="warnings", title="warnings", width=240, formatter=HTMLTemplateFormatter(template=WRAPPED)),
        *(
            TableColumn(field=key, title=title, width=90, formatter=NumberFormatter(format=form, nan_format="–"))
            for key, (title, form) in NUMBERS.items()
        ),
        *(TableColumn(field=f"note{i}", title=note, width=100) for i, note in enumerate(notes)),
    ]
    return DataTable(
        source=ColumnDataSource(data),
        columns=columns,
        index_position=None,
        reorderable=False,
        fit_columns=False,
        row_height=ROW_PX,
        height=min(HIGHEST_PX, 40 + ROW_PX * len(slides)),
        sizing_mode="stretch_width",
        styles={"line-height": "1.3"},
    )
