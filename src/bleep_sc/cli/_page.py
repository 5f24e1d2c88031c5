"""``bleep-sc page``: the page of a slide that was predicted before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc.cli._files import OUT_FILE, OVERWRITE, require_free, require_unread
from bleep_sc.cli._reference import GIVEN, REFERENCE, files_of, read_reference

if TYPE_CHECKING:
    from anndata import AnnData


@click.command()
@click.argument("prediction", type=click.Path(exists=True, path_type=Path))
@click.option("--ref", type=REFERENCE, default=None, help=f"What it was predicted from, for what it shows: {GIVEN}")
@click.option("--out", type=OUT_FILE, required=True, help="The page to write (html).")
@click.option("--genes", default="", help="Genes to list, with commas. Default: the 200 that are predicted best.")
@click.option("--layer", default="bleep", show_default=True, help="The predicted layer.")
@click.option("--key", default="bleep", show_default=True, help="Name of the model in the reference.")
@click.option("--library-id", default=None, help="The slide, where there are several.")
@OVERWRITE
def page(
    prediction: Path,
    ref: Path | str | None,
    out: Path,
    genes: str,
    layer: str,
    key: str,
    library_id: str | None,
    overwrite: bool,
) -> None:
    """Write the page of PREDICTION, a slide that was imputed: an h5ad file, or a store of bleep-sc impute.

    \b
    bleep-sc page slide.zarr --ref reference.h5ad --out slide.html
    """  # noqa: D301 - click wants the character
    require_unread(out, reads=(prediction, *files_of(ref)))
    require_free(out, overwrite=overwrite)
    adata = _read_store(prediction, layer) if prediction.is_dir() else read_h5ad(prediction)
    listed = [name.strip() for name in genes.split(",") if name.strip()]
    bs.io.write_page(
        adata,
        out,
        layer=layer,
        ref=None if ref is None else read_reference(ref),
        genes=listed or None,
        model_key=key,
        library_id=library_id,
    )
    click.echo(f"Written: {out}")


def _read_store(store: Path, layer: str) -> AnnData:
    """Read the table of a SpatialData store, whose X is the prediction."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spatialdata's and zarr's, about themselves
        import spatialdata as sd

        tables = sd.read_zarr(store, selection=("tables",)).tables
    if "table" not in tables or keys.IMPUTED not in tables["table"].var:
        raise ValueError(f"{store} holds no prediction. Pass a store that bleep-sc impute wrote, or an h5ad file.")
    table = tables["table"]
    table.layers[layer] = table.X
    return table
