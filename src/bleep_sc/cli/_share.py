"""``bleep-sc share``: a trained reference as a folder for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bleep_sc as bs
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc.cli._check import say
from bleep_sc.cli._files import FILE, OUT_FOLDER


@click.command()
@click.argument("ref", type=FILE, metavar="REF.h5ad")
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder to write; it appears when it is complete.")
@click.option("--key", default="bleep", show_default=True, help="Name of the model.")
@click.option("--title", default=None, help="Heading of the model card.")
@click.option("--organism", default=None, help="Whose tissue it is, for the card.")
@click.option("--tissue", default=None, help="What the slides show, for the card.")
@click.option("--license", default=None, help="Licence of the files, as hubs abbreviate it, such as cc-by-4.0.")
@click.option("--encoder-license", default=None, help="Licence of a trained encoder that bleep_sc does not know.")
@click.option("--encoder", default=None, help="Name of a trained encoder, where it is one of a hub.")
@click.option("--overwrite", is_flag=True, help="Replace a folder that holds a model.")
def share(ref: Path, out: Path, key: str, title: str | None, overwrite: bool, **card: str | None) -> None:
    """Write a trained REF.h5ad as a folder that can be given away, with a model card, and check it.

    Without images, coordinates, features and names. What remains is data of donors, and the card says how much.

    \b
    bleep-sc share reference.h5ad --out liver_reference --license cc-by-4.0
    """  # noqa: D301 - click wants the character
    named: dict[str, Any] = {**card, **({} if title is None else {"title": title})}
    bs.tl.share_reference(read_h5ad(ref), out, key=key, overwrite=overwrite, **named)
    click.echo(f"Written: {out}. Read its README.md before you give it away: it says what remains of the donors.")
    say(bs.tl.check_reference(out, encoder=card["encoder"]))
