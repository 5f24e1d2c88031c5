"""``bleep-sc tile`` and ``bleep-sc impute``: from the file of a slide and a trained reference to a predicted map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._output import html
from bleep_sc._output.disk import all_appear, is_there
from bleep_sc._output.locks import held
from bleep_sc.cli._files import ENCODER, FILE, OUT_FILE, OVERWRITE, beside, require_free, require_unread, write_h5ad
from bleep_sc.cli._genes import genes_of
from bleep_sc.cli._processes import require_alone, work_through
from bleep_sc.cli._sheet import free_column, read_sheet, slide_name
from bleep_sc.cli._slide_report import SlideReport, varied_genes
from bleep_sc.tl._models.in_uns import read_description

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from bleep_sc.models.search import Index


def tiling(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a slide is tiled."""
    for option in (
        click.option("--mpp", type=float, default=None, help="µm per px of the slide. Default: what its file says."),
        click.option("--spacing", default=100.0, show_default=True, help="Distance of neighbouring tiles, µm."),
        click.option("--square", is_flag=True, help="Tiles in squares instead of hexagons."),
        click.option("--min-tissue", default=0.5, show_default=True, help="Least share of tissue of a tile."),
        click.option("--region", type=FILE, default=None, help="GeoJSON of QuPath: only tiles inside."),
        click.option("--key", default="bleep", show_default=True, help="Name of the model in the reference."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("slide", type=FILE)
@click.option("--ref", type=FILE, default=None, help="Trained reference (h5ad), whose patches the tiles will show.")
@click.option("--out", type=OUT_FILE, required=True, help="The h5ad file to write, with OUT.png beside it.")
@OVERWRITE
@tiling
def tile(slide: Path, ref: Path | None, out: Path, overwrite: bool, **options: Any) -> None:
    """Lay tiles over the tissue of SLIDE, and write them as h5ad with a picture beside it."""
    require_alone("one slide")
    picture = out.with_name(f"{out.name.removesuffix('.h5ad')}.png")
    require_unread(out, picture, reads=(slide, ref, options["region"]))
    require_free(out, picture, overwrite=overwrite)
    with held(out):
        tiles = _tile(slide, None if ref is None else read_h5ad(ref), {**options, "library_id": slide_name(slide)})
        drawn = html.png(bs.pl.patches(tiles)[0].figure)
        remedy = f"{out.name} and {picture.name} were not written: make room and call again."
        with all_appear(out.parent, remedy, replace=overwrite) as drafts:
            write_h5ad(tiles, drafts / out.name)
            (drafts / picture.name).write_bytes(drawn)
    click.echo(f"{tiles.n_obs} tiles. Written: {out.name} and {picture.name}")


@click.command()
@click.argument("slide", type=FILE, required=False)
@click.option("--ref", type=FILE, required=True, help="Reference (h5ad) that bleep_sc.tl.fit trained.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="SpatialData store to write (OUT.zarr), with OUT.html and OUT.png beside it; with --sheet a folder for them.",
)
@click.option(
    "--sheet",
    type=FILE,
    default=None,
    help="CSV of slides: columns slide, and if needed mpp, region, name; others are kept in obs.",
)
@click.option("--genes", default="panel", show_default=True, help="panel (trained on), all, or names with commas.")
@click.option("--draw", default="", help="Genes to draw, with commas. Default: four that vary, in different ways.")
@click.option(
    "--index",
    type=click.Choice(["exact", "faiss"]),
    default="exact",
    show_default=True,
    help="How reference spots are found; faiss is approximate among very many.",
)
@ENCODER
@click.option("--geojson", is_flag=True, help="Also write OUT.geojson with the drawn genes, for QuPath.")
@OVERWRITE
@tiling
def impute(
    slide: Path | None,
    ref: Path,
    out: Path,
    sheet: Path | None,
    genes: str,
    draw: str,
    index: Index,
    encoder: tuple[str, ...],
    geojson: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Predict the expression of SLIDE, an H&E image, from a trained reference.

    The slide is tiled, described by the features that the reference was trained on, and imputed; or it is an h5ad file
    of tiles, as bleep-sc tile lays them and bleep-sc features describes them. With --sheet a cohort is predicted slide
    by slide; slides that are done are not done again, and one that fails does not stop the others. Under torchrun, srun
    and in the tasks of a job array every process takes its share of the slides.

    \b
    bleep-sc impute slide.svs --ref reference.h5ad --out slide.zarr
    """  # noqa: D301 - click wants the character
    if (slide is None) == (sheet is None):
        raise click.UsageError("Pass one slide, or a sheet of slides (--sheet).")
    from bleep_sc.models.search import check_index

    rows = [] if sheet is None else read_sheet(sheet)
    reference = read_h5ad(ref)
    read_description(require_model(reference, options["key"]), options["key"])
    check_index(index)
    chosen, shown = genes_of(reference, options["key"], genes, draw)
    one: dict[str, Any] = {
        "genes": chosen,
        "draw": shown,
        "index": index,
        "encoder": encoder,
        "geojson": geojson,
        "overwrite": overwrite,
    }
    if slide is not None:
        require_alone("one slide")
        require_unread(*beside(out, geojson=geojson), out, reads=(slide, ref, options["region"]))
        require_free(*beside(out, geojson=geojson), store=out, overwrite=overwrite)
        _impute(slide, reference, out, {**options, "library_id": slide_name(slide)}, **one)
        return
    stores = [out / f"{row.name}.zarr" for row in rows]
    read = [ref, sheet, options["region"], *(row.slide for row in rows), *(row.region for row in rows)]
    others = {store: beside(store, geojson=geojson) for store in stores if overwrite or not is_there(store)}
    require_unread(*stores, *(file for files in others.values() for file in files), reads=read)
    for store in stores:
        require_free(*others.get(store, ()), store=store, overwrite=overwrite or store not in others)

    def work(i: int) -> None:
        row = rows[i]
        own = {"library_id": row.name, "notes": row.notes, "mpp": row.mpp, "region": row.region}
        own = {**options, **{name: value for name, value in own.items() if value is not None}}
        _impute(row.slide, reference, stores[i], own, **one)

    work_through([row.name for row in rows], work, lambda i: is_there(stores[i]) and not overwrite)


def _tile(slide: Path, ref: AnnData | None, options: dict[str, Any]) -> AnnData:
    if slide.suffix == ".h5ad":
        if options["mpp"] is not None or options["region"] is not None:
            raise ValueError(f"The tiles of {slide.name} are laid already: mpp and region are for images.")
        tiles = read_h5ad(slide)
        if keys.TILES not in tiles.uns:
            raise ValueError(
                f"{slide.name} holds no tiles that bleep-sc tile laid. Predict spots with bleep_sc.tl.impute in Python."
            )
        return tiles
    return bs.pp.tile_slide(
        slide,
        ref=ref,
        key=options["key"],
        mpp=options["mpp"],
        spacing_um=options["spacing"],
        layout="square" if options["square"] else "hexagonal",
        min_tissue=options["min_tissue"],
        region=options["region"],
        library_id=options.get("library_id"),
    )


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
    geojson: bool,
    overwrite: bool,
) -> None:
    """Write all that there is of a slide, and its store last: where it is, everything else is, too."""
    key = options["key"]
    with held(out):
        tiles = _tile(slide, ref, options)
        written = [of_name(key) for of_name in keys.PREDICTION["obs"]]
        for column, said in options.get("notes", {}).items():  # among them whose the slide is
            tiles.obs[free_column(column, tiles, *written)] = pd.Categorical([said] * tiles.n_obs)
        bs.tl.impute(tiles, ref=ref, key=key, genes=genes, index=index, encoder=encoder or None)
        shown = draw or varied_genes(tiles, key)
        page, picture, outlines = (path.name for path in beside(out, geojson=True))
        remedy = f"Nothing was written for {out.name}: make room and call again."
        with all_appear(out.parent, remedy, replace=overwrite) as drafts:
            SlideReport(tiles, ref, key, shown, options.get("notes", {})).write(drafts / page, drafts / picture)
            if geojson:
                bs.tl.to_geojson(tiles, drafts / outlines, genes=shown, layer=key)
            _write_store(tiles, key, drafts / out.name)
    click.echo(f"{tiles.n_obs} tiles, {len(genes)} genes. Written: {out.name}, {page} and {picture}")


def _write_store(tiles: AnnData, key: str, out: Path) -> None:
    """Write a SpatialData store."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spatialdata's and zarr's, about themselves
        bs.tl.to_spatialdata(tiles, key).write(out)
