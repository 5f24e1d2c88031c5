"""``bleep-sc check``: what a receiver wants to know of a shared reference before trusting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import bleep_sc as bs
from bleep_sc.cli._reference import REFERENCE

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@click.command()
@click.argument("folder", type=REFERENCE)
@click.option("--encoder", default=None, help="Name of a trained encoder, where it is one of a hub.")
def check(folder: Path | str, encoder: str | None) -> None:
    """Tell what is in FOLDER, a shared reference: hashes, units, donors, what identifies them, and scores once more.

    One that is published is given by its name, and downloaded first. A line for every question begins with ok, look
    (to be known) or bad; where one is bad the command fails.

    \b
    bleep-sc check liver_reference
    bleep-sc check mouse-olfactory-bulb
    """  # noqa: D301 - click wants the character
    say(bs.tl.check_reference(folder, encoder=encoder))


def say(findings: pd.DataFrame) -> None:
    """Print findings a line each, and fail where one is bad."""
    for name, verdict, found in findings.itertuples():
        click.echo(f"{verdict:<4}  {name}: {found}")
    bad = findings.index[findings["verdict"] == "bad"].tolist()
    if bad:
        raise click.ClickException(f"Not to be trusted, or not to be sent, as it is: {', '.join(bad)}.")
