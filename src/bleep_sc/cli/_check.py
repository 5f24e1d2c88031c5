"""``bleep-sc check``: what a receiver wants to know of a shared reference before trusting it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import bleep_sc as bs

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--encoder", default=None, help="Name of a trained encoder, where it is one of a hub.")
def check(folder: Path, encoder: str | None) -> None:
    """Tell what is in FOLDER, a shared reference: hashes, units, donors, what identifies them, and scores once more.

    A line for every question begins with ok, look (to be known) or bad; where one is bad the command fails.

    \b
    bleep-sc check liver_reference
    """  # noqa: D301 - click wants the character
    say(bs.tl.check_reference(folder, encoder=encoder))


def say(findings: pd.DataFrame) -> None:
    """Print findings a line each, and fail where one is bad."""
    for name, verdict, found in findings.itertuples():
        click.echo(f"{verdict:<4}  {name}: {found}")
    bad = findings.index[findings["verdict"] == "bad"].tolist()
    if bad:
        raise click.ClickException(f"Not to be trusted, or not to be sent, as it is: {', '.join(bad)}.")
