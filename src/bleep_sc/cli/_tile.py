"""``bleep-sc tile``, and the places that ``bleep-sc impute`` predicts: tiles of an image, or those of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._adata.libraries import libraries, spots_of
from bleep_sc._output import html
from bleep_sc._output.disk import all_appear
from bleep_sc._output.locks import held
from bleep_sc._output.messages import listed
from bleep_sc.cli._files import FILE, OUT_FILE, OVERWRITE, require_ending, require_free, require_unread, write_h5ad
from bleep_sc.cli._processes import require_alone
from bleep_sc.cli._reference import GIVEN, REFERENCE, files_of, read_reference
from bleep_sc.cli._sheet import slide_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData


def tiling(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a slide is tiled."""
    for option in (
        click.option("--mpp", type=float, default=None, help="µm per px of the slide. Default: what its file says."),
        click.option("--spacing", default=100.0, show_default=True, help="Distance of neighbouring tiles, µm."),
        click.option("--square", is_flag=True, help="Tiles in squares instead of hexagons."),
        click.option("--min-tissue", default=0.5, show_default=True, help="Least share of tissue of a tile."),
        click.option(
            "--min-sharpness",
            type=click.FloatRange(min=0),
            default=0.05,
            show_default=True,
            help="Least share of fine contrast of a tile; 0 keeps those out of focus.",
        ),
        click.option("--region", type=FILE, default=None, help="GeoJSON of QuPath: only tiles inside."),
        click.option("--cells", type=FILE, default=None, help="GeoJSON of segmented cells: a patch around each."),
        click.option("--key", default="bleep", show_default=True, help="Name of the model in the reference."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("slide", type=FILE)
@click.option("--ref", type=REFERENCE, default=None, help=f"Trained reference, whose patches tiles will show: {GIVEN}")
@click.option("--out", type=OUT_FILE, required=True, help="The h5ad file to write, with OUT.png beside it.")
@click.option("--centers", type=FILE, default=None, help="File (.h5) of TRIDENT or CLAM: tiles where its patches are.")
@OVERWRITE
@tiling
def tile(slide: Path, ref: Path | str | None, out: Path, overwrite: bool, **options: Any) -> None:
    """Lay tiles over the tissue of SLIDE, and write them as h5ad with a picture beside it."""
    require_alone("one slide")
    require_ending(out, ".h5ad")
    picture = out.with_name(f"{out.name.removesuffix('.h5ad')}.png")
    read_too = (*files_of(ref), *(options[name] for name in ("region", "centers", "cells")))
    require_unread(out, picture, reads=(slide, *read_too))
    require_free(out, picture, overwrite=overwrite)
    with held(out):
        reference = None if ref is None else read_reference(ref)
        tiles = tiles_of(slide, reference, {**options, "library_id": slide_name(slide)})
        drawn = html.png(bs.pl.patches(tiles)[0].figure)
        remedy = f"{out.name} and {picture.name} were not written: make room and call again."
        with all_appear(out.parent, remedy, replace=overwrite) as drafts:
            write_h5ad(tiles, drafts / out.name)
            (drafts / picture.name).write_bytes(drawn)
    click.echo(f"{places_of(tiles)}. Written: {out} and {picture}")


def tiles_of(slide: Path, ref: AnnData | None, options: dict[str, Any]) -> AnnData:
    """Return the tiles of an image, or those and the prepared spots that an h5ad file holds."""
    if slide.suffix == ".h5ad":
        if any(options[name] is not None for name in ("mpp", "region", "cells")):
            raise ValueError(f"The tiles of {slide.name} are laid already: mpp, region and cells are for images.")
        tiles = read_h5ad(slide)
        if keys.PREPARED in tiles.uns and ref is not None:
            return _spots(tiles, slide, ref)
        if keys.TILES not in tiles.uns:
            raise ValueError(
                f"{slide.name} holds neither tiles that bleep-sc tile laid nor spots of bleep-sc prepare. Predict "
                "others with bleep_sc.tl.impute in Python."
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
        min_sharpness=options["min_sharpness"],
        region=options["region"],
        centers=options.get("centers"),
        cells=options["cells"],
        library_id=options.get("library_id"),
    )


def places_of(tiles: AnnData) -> str:
    """Say how many places there are, and what they are."""
    what = "cells" if keys.CELLS in tiles.uns else "tiles" if keys.TILES in tiles.uns else "spots"
    return f"{tiles.n_obs} {what}"


def _spots(prepared: AnnData, file: Path, ref: AnnData) -> AnnData:
    """Return the spots of a prepared slide with the genes of the reference: what was measured there is left out."""
    from anndata import AnnData

    if len(names := list(spots_of(libraries(prepared)))) > 1:
        raise ValueError(
            f"{file.name} holds {len(names)} slides ({listed(names)}), and one is predicted at a time. Prepare each by "
            "itself, bleep-sc prepare FOLDER --out one.h5ad, and pass several in a sheet (--sheet)."
        )
    ids = [column for column in keys.GENE_IDENTIFIERS if column in ref.var]
    return AnnData(obs=prepared.obs, var=ref.var[ids].copy(), obsm=dict(prepared.obsm), uns=dict(prepared.uns))
