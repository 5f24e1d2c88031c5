"""``bleep-sc embed``: place slides in the joint embedding of a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bleep_sc as bs
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._output.disk import is_there
from bleep_sc._output.locks import held
from bleep_sc.cli._files import DEVICE, ENCODER, FILE, OUT_FOLDER, require_free, require_unread, write_h5ad
from bleep_sc.cli._processes import work_through
from bleep_sc.cli._reference import GIVEN, REFERENCE, files_of, read_reference


@click.command()
@click.argument("slides", type=FILE, nargs=-1, required=True, metavar="SLIDE.h5ad...")
@click.option("--ref", type=REFERENCE, required=True, help=f"Trained reference: {GIVEN}")
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder for the embedded slides, which keep their names.")
@click.option("--key", default="bleep", show_default=True, help="Name of the model.")
@click.option("--expression", is_flag=True, help="Also embed the expression, which makes the slide a reference.")
@click.option(
    "--layer", default=None, help="With --expression, its layer. Default: that which the model was fitted on."
)
@ENCODER
@DEVICE
@click.option("--overwrite", is_flag=True, help="Replace slides that are there.")
def embed(
    slides: tuple[Path, ...],
    ref: Path | str,
    out: Path,
    key: str,
    expression: bool,
    layer: str | None,
    encoder: tuple[str, ...],
    device: str,
    overwrite: bool,
) -> None:
    """Place slides with image features or patches in the joint embedding of a trained reference.

    Slides that are done are not done again, and one that fails does not stop the others. Under torchrun every process
    takes its share of the slides.

    \b
    bleep-sc embed D1.h5ad E1.h5ad --ref reference.h5ad --expression --out embedded
    """  # noqa: D301 - click wants the character
    names = [path.name for path in slides]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise click.UsageError(f"Several slides are called {', '.join(twice)}, and --out has one of each name.")
    outs = [out / name for name in names]
    require_unread(*outs, reads=[*slides, *files_of(ref)])
    require_free(*outs, overwrite=True)  # those that are there are done
    reference = read_reference(ref)
    require_model(reference, key)

    def work(i: int) -> None:
        with held(outs[i]):
            adata = read_h5ad(slides[i])
            how: dict[str, Any] = {"expression": expression, "layer": layer, "encoder": encoder or None}
            bs.tl.embed(adata, reference, key=key, device=device, **how)
            write_h5ad(adata, outs[i], replace=overwrite)
        click.echo(f"{adata.n_obs:,} spots embedded. Written: {names[i]}")

    work_through(names, work, lambda i: is_there(outs[i]) and not overwrite)
