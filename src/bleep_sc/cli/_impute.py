"""``bleep-sc tile`` and ``bleep-sc impute``: from the file of a slide and a trained reference to a predicted map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._output.disk import appears
from bleep_sc.cli._files import ENCODER, FILE, OUT_FILE, require_free, write_h5ad
from bleep_sc.cli._processes import require_alone, work_through
from bleep_sc.cli._sheet import read_sheet
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
@click.option("--out", type=OUT_FILE, required=True, help="The h5ad file to write.")
@tiling
def tile(slide: Path, ref: Path | None, out: Path, **options: Any) -> None:
    """Lay tiles over the tissue of SLIDE, and write them as h5ad with a picture beside it."""
    require_alone("one slide")
    tiles = _tile(slide, None if ref is None else read_h5ad(ref), options)
    write_h5ad(tiles, out)
    figure = bs.pl.patches(tiles)[0].figure
    figure.savefig(out.with_suffix(".png"), dpi=150)
    click.echo(f"{tiles.n_obs} tiles. Written: {out.name} and {out.with_suffix('.png').name}")


@click.command()
@click.argument("slide", type=FILE, required=False)
@click.option("--ref", type=FILE, required=True, help="Reference (h5ad) that bleep_sc.tl.fit trained.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="SpatialData store to write (OUT.zarr), with OUT.html and OUT.png beside it; with --sheet a folder for them.",
)
@click.option("--sheet", type=FILE, default=None, help="CSV of slides: columns slide, and if needed mpp, region, name.")
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
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@tiling
def impute(
    slide: Path | None,
    ref: Path,
    out: Path,
    sheet: Path | None,
    genes: str,
    draw: str,
    index: Index,
    encoder: str | None,
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
    reference = read_h5ad(ref)
    read_description(require_model(reference, options["key"]), options["key"])
    one: dict[str, Any] = {
        "genes": genes,
        "draw": _listed(draw),
        "index": index,
        "encoder": encoder,
        "geojson": geojson,
    }
    if slide is not None:
        require_alone("one slide")
        require_free(out, overwrite)
        _impute(slide, reference, out, options, **one)
        return
    rows = read_sheet(sheet).to_dict("records")  # type: ignore[arg-type]
    stores = [out / f"{row['name']}.zarr" for row in rows]

    def work(i: int) -> None:
        own = {name: rows[i][name] for name in ("mpp", "region") if rows[i].get(name) is not None}
        own = {**options, "library_id": rows[i]["name"], **own}
        _impute(Path(rows[i]["slide"]), reference, stores[i], own, **one)

    work_through([row["name"] for row in rows], work, lambda i: stores[i].exists() and not overwrite)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


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
    genes: str,
    draw: list[str],
    index: Index,
    encoder: str | None,
    geojson: bool,
) -> None:
    """Write the store of a slide last: where it is, everything else is, too."""
    key = options["key"]
    tiles = _tile(slide, ref, options)
    chosen = _genes(ref, genes, key)
    absent = [gene for gene in draw if gene not in chosen]
    if absent:
        raise ValueError(f"--draw asks for {', '.join(absent)}, which --genes={genes} does not predict.")
    bs.tl.impute(tiles, ref=ref, key=key, genes=chosen, index=index, encoder=encoder)
    shown = draw or varied_genes(tiles, key)
    out.parent.mkdir(parents=True, exist_ok=True)
    SlideReport(tiles, ref, key, shown).write(out.with_suffix(".html"), out.with_suffix(".png"))
    if geojson:
        bs.tl.to_geojson(tiles, out.with_suffix(".geojson"), genes=shown, layer=key)
    _write_store(tiles, key, out)
    click.echo(f"{tiles.n_obs} tiles, {len(chosen)} genes. Written: {out.name}, {out.stem}.html and {out.stem}.png")


def _genes(ref: AnnData, genes: str, key: str) -> list[str]:
    if genes == "all":
        return ref.var_names.tolist()
    if genes == "panel":
        trained = set(read_description(require_model(ref, key), key).genes)
        panel = [gene for gene in ref.var_names if gene in trained]
        return panel or ref.var_names.tolist()
    return _listed(genes)


def _write_store(tiles: AnnData, key: str, out: Path) -> None:
    """Write a SpatialData store; it appears when it is complete."""
    import warnings

    with warnings.catch_warnings(), appears(out) as draft:
        warnings.simplefilter("ignore")  # spatialdata's and zarr's, about themselves
        bs.tl.to_spatialdata(tiles, key).write(draft)
