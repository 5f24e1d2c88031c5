"""``bleep-sc tile`` and ``bleep-sc impute``: from the file of a slide and a trained reference to a predicted map."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bleep_sc as bs
from bleep_sc._checks import require_model
from bleep_sc._slide_report import SlideReport, varied_genes

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from anndata import AnnData

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
COLUMNS = ("slide", "mpp", "region", "name")
"""Of a sheet of slides; the first is needed."""


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
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The h5ad file to write.")
@tiling
def tile(slide: Path, ref: Path | None, out: Path, **options: Any) -> None:
    """Lay tiles over the tissue of SLIDE, and write them as h5ad with a picture beside it."""
    import anndata as ad

    tiles = _tile(slide, None if ref is None else ad.read_h5ad(ref), options)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.part")
    tiles.write_h5ad(draft)
    os.replace(draft, out)
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
@click.option("--draw", default="", help="Genes to draw, with commas. Default: the four that vary most.")
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
    geojson: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    r"""Predict the expression of SLIDE, an H&E image, from a trained reference.

    The slide is tiled, described by the features that the reference was trained on, and imputed. With --sheet a cohort
    is predicted slide by slide; slides that are done are not done again, and one that fails does not stop the others.

    \b
    bleep-sc impute slide.svs --ref reference.h5ad --out slide.zarr
    """
    import anndata as ad

    if (slide is None) == (sheet is None):
        raise click.UsageError("Pass one slide, or a sheet of slides (--sheet).")
    reference = ad.read_h5ad(ref)
    require_model(reference, options["key"])
    one: dict[str, Any] = {"genes": genes, "draw": _listed(draw), "geojson": geojson}
    if slide is not None:
        if out.exists() and not overwrite:
            raise click.UsageError(f"{out} exists already. Pass another --out, or --overwrite.")
        _impute(slide, reference, out, options, **one)
        return
    rows = _read_sheet(sheet)  # type: ignore[arg-type]
    failed = []
    for number, row in enumerate(rows.to_dict("records"), start=1):
        name = row["name"]
        if (out / f"{name}.zarr").exists() and not overwrite:
            click.echo(f"[{number}/{len(rows)}] {name}: done before")
            continue
        click.echo(f"[{number}/{len(rows)}] {name}")
        own = {
            **options,
            "library_id": name,
            **{key: row[key] for key in ("mpp", "region") if row.get(key) is not None},
        }
        try:
            _impute(Path(row["slide"]), reference, out / f"{name}.zarr", {**options, "library_id": name, **own}, **one)
        except (ValueError, KeyError, OSError, ImportError) as error:
            failed.append(name)
            click.echo(f"{name} failed: {error}", err=True)
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(rows)} slides failed: {', '.join(failed)}. Call again.")


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _tile(slide: Path, ref: AnnData | None, options: dict[str, Any]) -> AnnData:
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
    slide: Path, ref: AnnData, out: Path, options: dict[str, Any], *, genes: str, draw: list[str], geojson: bool
) -> None:
    """Write the store of a slide last: where it is, everything else is, too."""
    key = options["key"]
    tiles = _tile(slide, ref, options)
    chosen = _genes(ref, genes, key)
    absent = [gene for gene in draw if gene not in chosen]
    if absent:
        raise ValueError(f"--draw asks for {', '.join(absent)}, which --genes={genes} does not predict.")
    bs.tl.impute(tiles, ref=ref, key=key, genes=chosen)
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
        trained = {str(gene) for gene in require_model(ref, key)["genes"]}
        panel = [gene for gene in ref.var_names if gene in trained]
        return panel or ref.var_names.tolist()
    return _listed(genes)


def _write_store(tiles: AnnData, key: str, out: Path) -> None:
    """Write a SpatialData store; it appears when it is complete."""
    import warnings

    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # spatialdata's and zarr's, about themselves
            bs.tl.to_spatialdata(tiles, key).write(folder / out.name)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(folder / out.name, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read_sheet(sheet: Path) -> pd.DataFrame:
    """Read a sheet of slides; files are relative to it."""
    import pandas as pd

    rows = pd.read_csv(sheet, dtype={"slide": str, "region": str, "name": str})
    unknown = [name for name in rows if name not in COLUMNS]
    if "slide" not in rows or unknown:
        raise click.BadParameter(
            f"{sheet} has the columns {', '.join(rows)}; it needs slide, and may have {', '.join(COLUMNS[1:])}.",
            param_hint="--sheet",
        )
    for column in ("slide", "region"):
        if column in rows:
            rows[column] = [None if pd.isna(each) else str(sheet.parent / each) for each in rows[column]]
    names = [Path(each).name.split(".")[0] for each in rows["slide"]]
    rows["name"] = names if "name" not in rows else rows["name"].fillna(pd.Series(names))
    if rows["name"].duplicated().any():
        twice = rows.loc[rows["name"].duplicated(), "name"].unique()
        raise click.BadParameter(
            f"{sheet} has several slides called {', '.join(twice)}; add a column name.", param_hint="--sheet"
        )
    return rows.astype(object).where(rows.notna(), None)
