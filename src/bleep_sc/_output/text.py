"""Names of genes, slides and categories as they are, whatever they hold: markup, formulas, line breaks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""What spreadsheets take the beginning of a formula for."""
MARKUP = re.compile(r"[\\`*<|~$]|&(?=[#\w]+;)|(?<=\])[(:]|(?<!\w)_|_(?!\w)")
"""What Markdown reads as something else than text; not all that it might, since the source is read, too."""


def drawn(text: str) -> str:
    """Return text that matplotlib draws as it is, and not as a formula."""
    return text.replace("$", r"\$")


def in_legend(text: str) -> str:
    """Return text for a legend of matplotlib, which leaves out names with an underscore in front."""
    return drawn(f" {text}" if text.startswith("_") else text)


def one_line(text: str) -> str:
    """Return text without line breaks, and without what terminals take for orders."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", " ".join(text.splitlines()))


def markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a paragraph, a heading or the cell of a table."""
    return MARKUP.sub(lambda found: f"\\{found[0]}", one_line(text))


def code(text: str) -> str:
    """Return text as code of Markdown."""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{one_line(text)}{space}{ticks}"


def markdown_table(frame: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    rows = [list(map(str, frame.columns)), *frame.astype(str).to_numpy().tolist()]
    cells = [list(map(markdown, row)) for row in rows]
    cells.insert(1, ["---"] * frame.shape[1])
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV; what a spreadsheet would compute has an apostrophe in front, which it takes for text."""
    texts = {name: column.map(_as_text) for name, column in frame.items() if column.dtype.kind not in "biuf"}
    return frame.assign(**texts).rename(columns=_as_text).to_csv(index=False)


def _as_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    value = re.sub("\r\n?", "\n", value)  # which alone would not be quoted, and end the row
    return f"'{value}" if value.startswith(FORMULA) else value
