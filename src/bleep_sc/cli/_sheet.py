"""A sheet of slides, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("slide", "mpp", "region", "name")
"""Of a sheet; the first is needed."""


def read_sheet(sheet: Path) -> pd.DataFrame:
    """Read a sheet of slides; files are relative to it."""
    import pandas as pd

    rows = pd.read_csv(sheet, dtype={"slide": str, "region": str, "name": str})
    unknown = [name for name in rows if name not in COLUMNS]
    if "slide" not in rows or unknown:
        raise click.BadParameter(
            f"{sheet} has the columns {', '.join(rows)}; it needs slide, and may have {', '.join(COLUMNS[1:])}.",
            param_hint="--sheet",
        )
    if "mpp" in rows:
        rows["mpp"] = _numbers(rows["mpp"], sheet)
    for column in ("slide", "region"):
        if column in rows:
            rows[column] = [None if pd.isna(each) else str(sheet.parent / each) for each in rows[column]]
    names = [Path(each).name.split(".")[0] for each in rows["slide"]]
    rows["name"] = names if "name" not in rows else rows["name"].fillna(pd.Series(names))
    if rows["name"].duplicated().any():
        twice = rows.loc[rows["name"].duplicated(), "name"].unique()
        raise click.BadParameter(
            f"{sheet} has several slides called {', '.join(twice)}; add a column name.", param_hint="--sheet"
        )
    return rows.astype(object).where(rows.notna(), None)


def _numbers(column: pd.Series, sheet: Path) -> pd.Series:
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce")
    wrong = column[numbers.isna() & column.notna()].unique()
    if len(wrong):
        raise click.BadParameter(
            f"{sheet} has {', '.join(map(repr, wrong))} as mpp; it must be a number, µm per px.", param_hint="--sheet"
        )
    return numbers
