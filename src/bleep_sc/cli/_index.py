"""``bleep-sc index``: the list of the slides of a cohort."""

from __future__ import annotations

from pathlib import Path

import click

import bleep_sc as bs
from bleep_sc.cli._files import FILE
from bleep_sc.cli._sheet import read_sheet
from bleep_sc.io._write_index import INDEX


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--sheet", type=FILE, default=None, help="CSV of slides, as of bleep-sc impute: those without a page are named."
)
def index(folder: Path, sheet: Path | None) -> None:
    """Write FOLDER/index.html, the list of the slides that were predicted there, with their warnings.

    bleep-sc impute --sheet does so itself, but for one slide (--only).

    \b
    bleep-sc index predicted --sheet slides.csv
    """  # noqa: D301 - click wants the character
    bs.io.write_index(folder, names=None if sheet is None else [row.name for row in read_sheet(sheet)])
    click.echo(f"Written: {folder / INDEX}")
