"""``bleep-sc impute``: from the file of a slide and a trained reference to a predicted map."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.gene_ranks import distinct_genes
from bleep_sc._output import html
from bleep_sc._output.disk import all_appear, is_there
from bleep_sc._output.locks import held
from bleep_sc.cli._files import DEVICE, ENCODER, FILE, OVERWRITE, beside, require_ending, require_free, require_unread
from bleep_sc.cli._genes import genes_of
from bleep_sc.cli._processes import require_alone, work_through
from bleep_sc.cli._qupath import import_script
from bleep_sc.cli._reference import GIVEN, REFERENCE, files_of, read_reference
from bleep_sc.cli._sheet import free_column, read_sheet, slide_name
from bleep_sc.cli._tile import places_of, tiles_of, tiling
from bleep_sc.io._page.cautions import in_brief
from bleep_sc.io._write_index import INDEX, require_own_index
from bleep_sc.tl._models.in_uns import read_description

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

    from bleep_sc.models.search import Index

N_ACROSS = 2
"""Genes side by side in the picture of a slide."""
WARNED = "#b00020"
"""Colour of what is said against a picture."""


@click.command()
@click.argument("slide", type=FILE, required=False)
@click.option("--ref", type=REFERENCE, required=True, help=f"Trained reference: {GIVEN}")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="SpatialData store to write (OUT.zarr), with OUT.html and OUT.png beside it; with --sheet a folder for them, "
    "with index.html.",
)
@click.option(
    "--sheet",
    type=FILE,
    default=None,
    help="CSV of slides: columns slide, and if needed mpp, region, name; others, such as patient or donor, are kept "
    "in obs.",
)
@click.option("--only", default=None, metavar="NAME", help="With --sheet, that slide alone, without index.html.")
@click.option("--donor", default=None, help="Whose SLIDE is, as the reference calls its donors; of a sheet a column.")
@click.option("--genes", default="panel", show_default=True, help="panel (trained on), all, or names with commas.")
@click.option(
    "--draw", default="", help="Genes to draw, with commas. Default: four that are predicted best, and differ."
)
@click.option(
    "--index",
    type=click.Choice(["exact", "faiss"]),
    default="exact",
    show_default=True,
    help="How reference spots are found; faiss is approximate among very many.",
)
@ENCODER
@DEVICE
@click.option(
    "--geojson", is_flag=True, help="Also write OUT.geojson with the drawn genes, and OUT.groovy, for QuPath."
)
@OVERWRITE
@tiling
def impute(
    slide: Path | None,
    ref: Path | str,
    out: Path,
    sheet: Path | None,
    only: str | None,
    donor: str | None,
    genes: str,
    draw: str,
    index: Index,
    encoder: tuple[str, ...],
    device: str,
    geojson: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Predict the expression of SLIDE, an H&E image, from a trained reference.

    The slide is tiled, described by the features that the reference was trained on, and imputed; or it is an h5ad file
    of tiles, as bleep-sc tile lays them and bleep-sc features describes them, or of the spots of a slide, as bleep-sc
    prepare reads them, whose measured expression is left out. With --sheet a cohort is predicted slide by slide; slides
    that are done are not done again, and one that fails does not stop the others. Under torchrun every process takes
    its share of the slides; a workflow calls with --only for each of them, and bleep-sc index at the end.

    \b
    bleep-sc impute slide.svs --ref reference.h5ad --out slide.zarr
    bleep-sc impute prepared.h5ad --ref liver_reference --out slide.zarr
    bleep-sc impute slide.svs --ref mouse-olfactory-bulb --out slide.zarr
    """  # noqa: D301 - click wants the character
    if (slide is None) == (sheet is None):
        raise click.UsageError("Pass one slide, or a sheet of slides (--sheet).")
    if sheet is None and only is not None:
        raise click.UsageError("A slide is named (--only) among those of a sheet (--sheet).")
    if slide is not None:
        require_ending(out, ".zarr")
    if sheet is not None and options["cells"] is not None:
        raise click.UsageError("The cells of one slide are not those of a sheet: call without --sheet for each slide.")
    if sheet is not None and donor is not None:
        raise click.UsageError("Whose the slides of a sheet are is said there, in a column donor.")
    from bleep_sc.models.search import check_index

    rows = [] if sheet is None else read_sheet(sheet, only)
    reference = read_reference(ref)
    read_description(require_model(reference, options["key"]), options["key"])
    check_index(index)
    chosen, shown = genes_of(reference, options["key"], genes, draw)
    one: dict[str, Any] = {
        "genes": chosen,
        "draw": shown,
        "index": index,
        "encoder": encoder,
        "device": device,
        "geojson": geojson,
        "overwrite": overwrite,
    }
    if slide is not None:
        require_alone("one slide")
        read_too = (*files_of(ref), options["region"], options["cells"])
        require_unread(*beside(out, geojson=geojson), out, reads=(slide, *read_too))
        require_free(*beside(out, geojson=geojson), store=out, overwrite=overwrite)
        notes = {} if donor is None else {keys.DONOR: donor}
        _impute(slide, reference, out, {**options, "library_id": slide_name(slide), "notes": notes}, **one)
        return
    stores = [out / f"{row.name}.zarr" for row in rows]
    if only is not None:
        require_alone("one slide")
    read = [*files_of(ref), sheet, options["region"], *(row.slide for row in rows), *(row.region for row in rows)]
    others = {store: beside(store, geojson=geojson) for store in stores if overwrite or not is_there(store)}
    require_unread(*stores, out / INDEX, *(file for files in others.values() for file in files), reads=read)
    require_own_index(out / INDEX)
    for store in stores:
        require_free(*others.get(store, ()), store=store, overwrite=overwrite or store not in others)

    def work(i: int) -> None:
        row = rows[i]
        own = {"library_id": row.name, "notes": row.notes, "mpp": row.mpp, "region": row.region}
        own = {**options, **{name: value for name, value in own.items() if value is not None}}
        _impute(row.slide, reference, stores[i], own, **one)

    try:
        work_through([row.name for row in rows], work, lambda i: is_there(stores[i]) and not overwrite)
    finally:
        if only is None and out.is_dir():
            bs.io.write_index(out, names=[row.name for row in rows])
            click.echo(f"Written: {out / INDEX}, the list of all slides")


def _impute(
    slide: Path,
    ref: AnnData,
    out: Path,
    options: dict[str, Any],
    *,
    genes: list[str],
    draw: list[str],
    index: Index,
    encoder: tuple[str, ...],
    device: str,
    geojson: bool,
    overwrite: bool,
) -> None:
    """Write all that there is of a slide, and its store last: where it is, everything else is, too."""
    key = options["key"]
    with held(out):
        tiles = tiles_of(slide, ref, options)
        written = [of_name(key) for of_name in keys.PREDICTION["obs"]]
        for column, said in options.get("notes", {}).items():  # among them whose the slide is
            tiles.obs[free_column(column, tiles, *written)] = pd.Categorical([said] * tiles.n_obs)
        bs.tl.impute(tiles, ref=ref, key=key, genes=genes, index=index, encoder=encoder or None, device=device)
        shown, notes = draw or distinct_genes(tiles, key), options.get("notes", {})
        page, picture, outlines, script = (path.name for path in beside(out, geojson=True))
        remedy = f"Nothing was written for {out.name}: make room and call again."
        with all_appear(out.parent, remedy, replace=overwrite) as drafts:
            bs.io.write_page(tiles, drafts / page, layer=key, ref=ref, model_key=key, notes=notes)
            (drafts / picture).write_bytes(html.png(_map(tiles, shown, key)))
            if geojson:
                bs.tl.to_geojson(tiles, drafts / outlines, genes=shown, layer=key, cells=options["cells"])
                text = import_script(out.with_name(outlines), _image(tiles, slide), cells=keys.CELLS in tiles.uns)
                (drafts / script).write_text(text, encoding="utf-8")
            _write_store(tiles, key, drafts / out.name)
    written_files = ", ".join(map(str, [out, *beside(out, geojson=geojson)]))
    click.echo(f"{places_of(tiles)}, {len(genes)} genes. Written: {written_files}")


def _image(tiles: AnnData, slide: Path) -> str:
    """Return the name of the file of the image, also where places were read from an h5ad file."""
    (library,) = tiles.uns.get(keys.SPATIAL, {}).values() or [{}]
    return Path(str(library.get("metadata", {}).get("source_image_path", "")) or slide).name


def _map(tiles: AnnData, genes: list[str], layer: str) -> Figure:
    """Draw genes over the slide, each on its own scale."""
    from matplotlib.figure import Figure

    n_rows, n_columns = -(-len(genes) // N_ACROSS), min(len(genes), N_ACROSS)
    width = 5.2 * n_columns
    figure = Figure(figsize=(width, 4.2 * n_rows), layout="constrained")
    if said := in_brief(tiles, layer):
        text = "; ".join(said)
        figure.suptitle(textwrap.fill(text[0].upper() + text[1:], int(11 * width)), fontsize=10, color=WARNED)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    bs.pl.spatial(tiles, genes, layer=layer, ax=axes[: len(genes)])
    for empty in axes[len(genes) :]:
        empty.axis("off")
    return figure


def _write_store(tiles: AnnData, key: str, out: Path) -> None:
    """Write a SpatialData store."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spatialdata's and zarr's, about themselves
        bs.tl.to_spatialdata(tiles, key).write(out)
