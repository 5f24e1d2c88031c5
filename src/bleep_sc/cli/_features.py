"""``bleep-sc features``: describe patches by a frozen encoder, in one process or in those of torchrun."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._output.locks import held
from bleep_sc.cli._files import DEVICE, FILE, NUM_WORKERS, OUT_FILE, OUT_FOLDER, require_free, write_h5ad
from bleep_sc.cli._processes import first_of_group


@click.command()
@click.argument("file", type=FILE, metavar="FILE.h5ad")
@click.option(
    "--encoder",
    default="resnet50",
    show_default=True,
    help="stain_stats, an encoder of pathology (uni2, virchow2, keep, ...), or a torchvision or timm name.",
)
@click.option(
    "--weights",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="File of the weights of an encoder of pathology, where they are not to come from the hub.",
)
@click.option(
    "--read",
    type=FILE,
    default=None,
    help="File (.h5) of TRIDENT or CLAM with features of the slide, instead of computing them: of the encoder that "
    "--encoder names.",
)
@click.option(
    "--side-px",
    type=float,
    default=None,
    help="With --read, side of a patch, px of the full resolution, where the file does not say it.",
)
@click.option(
    "--store",
    type=OUT_FOLDER,
    default=None,
    help="Folder in which features are kept block by block: called again after it was killed, it goes on there. Needed "
    "where several processes share the blocks.",
)
@click.option("--out", type=OUT_FILE, default=None, help="h5ad file to write. Default: FILE.h5ad gets the features.")
@click.option("--patches-key", default="patches", show_default=True, help="Patches in obsm, in their store or slides.")
@click.option("--key-added", default=None, help="Key of the features in obsm. Default: X_ and the encoder's name.")
@click.option("--symmetries", is_flag=True, help="Average over the eight symmetries of a patch.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Patches at once.")
@NUM_WORKERS
@DEVICE
@click.option(
    "--list-encoders",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, asked: _list_encoders(context) if asked else None,
    help="Say which encoders of pathology are known by name, and their terms.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file, or the features, that are there.")
def features(
    file: Path,
    encoder: str,
    weights: Path | None,
    read: Path | None,
    side_px: float | None,
    store: Path | None,
    out: Path | None,
    key_added: str | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Compute image features of the spots or tiles of FILE.h5ad, and write them into it.

    Under torchrun or srun the processes share the patches out, and the first of them writes the file.

    \b
    bleep-sc features tiles.h5ad --encoder resnet50
    bleep-sc features tiles.h5ad --encoder uni2 --read features_uni_v2/slide.h5
    torchrun --nproc-per-node=8 -m bleep_sc features tiles.h5ad --encoder resnet50 --store features.zarr
    """  # noqa: D301 - click wants the character
    from bleep_sc.models.pathology_encoders import recorded_name
    from bleep_sc.training.processes.shares import step

    key = key_added or keys.features(recorded_name(encoder))
    writes = first_of_group()
    if step()[1] > 1 and store is None:
        raise click.UsageError(f"{step()[1]} processes share features out in a store. Pass --store.")
    if out is not None:
        require_free(out, overwrite=overwrite)  # it has all that the file has
    with held(out or file) if writes else nullcontext():
        adata = read_h5ad(file)
        if out is None and key in adata.obsm and not overwrite:
            raise click.UsageError(
                f"{file} holds obsm[{key!r}] already. Pass --out, another --key-added, or --overwrite."
            )
        if read is not None:
            bs.pp.read_features(adata, read, encoder, side_px=side_px, key_added=key)
        else:
            network = encoder if weights is None else bs.models.load_encoder(encoder, weights=weights)
            bs.pp.image_features(adata, network, store=store, key_added=key, **options)
        if writes:
            write_h5ad(adata, out or file, replace=out is None or overwrite)
            click.echo(f"{adata.obsm[key].shape[1]} features of {adata.n_obs:,} patches. Written: {out or file}")


def _list_encoders(context: click.Context) -> None:
    known = bs.models.list_encoders()[["title", "license", "gated", "width", "mpp", "page"]]
    click.echo(known.to_string(max_colwidth=None))
    context.exit()
