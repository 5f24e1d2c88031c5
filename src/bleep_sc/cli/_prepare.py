"""``bleep-sc prepare``: from the folders of instruments to one h5ad file, and a picture of what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

import bleep_sc as bs
from bleep_sc._output import html
from bleep_sc._output.disk import all_appear
from bleep_sc._output.locks import held
from bleep_sc.cli._files import FILE, OUT_FILE, OVERWRITE, require_ending, require_free, require_unread, write_h5ad
from bleep_sc.cli._genes import names_of
from bleep_sc.cli._processes import require_alone
from bleep_sc.cli._sheet import EMPTY, bad_sheet, table_of

COLUMNS = ("folder", "image", "name", "donor", "alignment")
"""Of a sheet of folders; the first is needed."""
PATHS = ("folder", "image", "alignment")
"""Those that name what must be there."""


@dataclass
class Given:
    """The folders that are to be prepared, and what was said of them."""

    folders: list[Path]
    names: list[str] = field(default_factory=list)
    """As many as there are folders, or none."""
    image: Path | dict[str, Path] | None = None
    donor: dict[str, str] = field(default_factory=dict)
    alignment: dict[str, list[Path]] | list[Path] | None = None


@click.command()
@click.argument("folders", type=click.Path(exists=True, path_type=Path), nargs=-1, metavar="FOLDER...")
@click.option("--out", type=OUT_FILE, required=True, help="The h5ad file to write, with OUT.png beside it.")
@click.option("--image", multiple=True, metavar="[NAME=]FILE", help="The scan of a slide, where it is not found.")
@click.option(
    "--alignment",
    multiple=True,
    metavar="[NAME=]FILE",
    help="How --image lies on what was measured: JSON of Loupe, of HD both; CSV of Xenium.",
)
@click.option("--name", multiple=True, help="What a slide is called, once for every folder. Default: as the folder.")
@click.option("--donor", multiple=True, metavar="NAME=DONOR", help="Whose a slide is, once for every slide.")
@click.option(
    "--sheet",
    type=FILE,
    default=None,
    help="CSV instead of folders: columns folder, and if needed image, name, donor, alignment.",
)
@click.option(
    "--bin", "bin_um", default="auto", show_default=True, help="Bins of Visium HD, µm: 8, 16, a multiple, or auto."
)
@click.option(
    "--spot-um", type=float, default=55.0, show_default=True, help="Side of the spots made of Xenium's cells."
)
@click.option("--mpp", type=float, default=None, help="µm per px of the scans, where nothing else says it.")
@click.option("--pitch", "pitch_um", type=float, default=None, help="Step of the array, µm: 200 for original ST.")
@click.option(
    "--min-counts",
    type=click.IntRange(min=0),
    default=None,
    help="Least counts of a spot. Default: 100; of small bins of HD less.",
)
@click.option(
    "--min-spots", type=click.IntRange(min=0), default=10, show_default=True, help="Least spots that express a gene."
)
@click.option(
    "--n-top-genes", type=click.IntRange(min=0), default=1000, show_default=True, help="To learn on, of each slide."
)
@click.option("--genes", default="", help="Learnt on whether they vary or not, such as markers: names with commas.")
@click.option("--size-um", type=float, default=112.0, show_default=True, help="Side of the tissue in a patch, µm.")
@click.option(
    "--encoder", default="resnet50", show_default=True, help="stain_stats, a torchvision or timm name; or none."
)
@OVERWRITE
def prepare(
    folders: tuple[Path, ...],
    out: Path,
    image: tuple[str, ...],
    alignment: tuple[str, ...],
    name: tuple[str, ...],
    donor: tuple[str, ...],
    sheet: Path | None,
    bin_um: str,
    genes: str,
    encoder: str,
    overwrite: bool,
    **options: Any,
) -> None:
    """Make one reference of slides as their instruments leave them, with features, ready for bleep-sc fit.

    A FOLDER is Space Ranger's or Xenium's outs, a SpatialData store, a folder of original Spatial
    Transcriptomics, or an h5ad file. Of a single slide the result is a query for bleep-sc impute, too.

    \b
    bleep-sc prepare A1 B1 --donor A1=P1 --donor B1=P2 --out reference.h5ad
    bleep-sc fit reference.h5ad
    bleep-sc impute slide.svs --ref reference.h5ad --out slide.zarr
    """  # noqa: D301 - click wants the character
    require_alone("one file")
    require_ending(out, ".h5ad")
    if bool(folders) == (sheet is not None):
        raise click.UsageError("Pass folders, or a sheet of them (--sheet).")
    if sheet is None:
        given = _of_options(folders, image, name, donor, alignment)
    else:
        given = _of_sheet(sheet, image + name + donor + alignment)
    picture = out.with_name(f"{out.name.removesuffix('.h5ad')}.png")
    scans = given.image.values() if isinstance(given.image, dict) else [given.image]
    require_unread(out, picture, reads=[*given.folders, *scans, sheet])
    require_free(out, picture, overwrite=overwrite)
    with held(out):
        from bleep_sc.io._contact_sheet import contact_sheet

        adata = bs.io.prepare(
            dict(zip(given.names, given.folders, strict=True)) if given.names else given.folders,
            image=given.image,
            alignment=given.alignment,
            donor=given.donor or None,
            bin_um=_side(bin_um),
            genes=names_of(genes),
            encoder=None if encoder == "none" else encoder,
            **options,
        )
        drawn = html.png(contact_sheet(adata))
        remedy = f"{out.name} and {picture.name} were not written: make room and call again."
        with all_appear(out.parent, remedy, replace=overwrite) as drafts:
            write_h5ad(adata, drafts / out.name, compression="gzip")
            (drafts / picture.name).write_bytes(drawn)
    click.echo(f"Written: {out} and {picture}; look at the latter before you go on with bleep-sc fit {out}")


def _side(text: str) -> float | Literal["auto"]:
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number of µm, nor auto.", param_hint="--bin") from None


def _of_options(
    folders: tuple[Path, ...],
    images: tuple[str, ...],
    names: tuple[str, ...],
    donors: tuple[str, ...],
    alignments: tuple[str, ...],
) -> Given:
    if names and len(names) != len(folders):
        raise click.BadParameter(f"{len(names)} names for {len(folders)} folders; name all.", param_hint="--name")
    _refuse_twice(names, "--name")
    of_donors = dict(_pair(each, "--donor", "DONOR") for each in donors)
    return Given(list(folders), list(names), _images(images), of_donors, _alignments(alignments))


def _alignments(alignments: tuple[str, ...]) -> dict[str, list[Path]] | list[Path] | None:
    """Return the alignments of one slide, or of several by their names; two of a slide are the old and the new one."""
    if alignments and all("=" not in each or Path(each).is_file() for each in alignments):
        return [_file(each, "--alignment") for each in alignments]
    found: dict[str, list[Path]] = {}
    for each in alignments:
        slide, file = _pair(each, "--alignment", "FILE")
        found.setdefault(slide, []).append(_file(file, "--alignment"))
    return found or None


def _file(path: str, option: str) -> Path:
    if not Path(path).is_file():
        raise click.BadParameter(f"there is no file {path!r}.", param_hint=option)
    return Path(path)


def _images(images: tuple[str, ...]) -> Path | dict[str, Path] | None:
    """Return one scan, or several by the names of their slides; a file whose name has ``=`` is one."""
    if len(images) == 1 and ("=" not in images[0] or Path(images[0]).is_file()):
        found: dict[str, Path] = {"": _file(images[0], "--image")}
    else:
        pairs = [_pair(each, "--image", "FILE") for each in images]
        found = {slide: _file(file, "--image") for slide, file in pairs}
    return found.get("", found or None)


def _pair(text: str, option: str, what: str) -> tuple[str, str]:
    slide, _, value = text.partition("=")
    if not slide or not value:
        raise click.BadParameter(f"{text!r} is no NAME={what}, NAME being that of a slide.", param_hint=option)
    return slide, value


def _refuse_twice(names: Any, where: str) -> None:
    if twice := sorted({each for each in names if list(names).count(each) > 1}):
        raise click.BadParameter(f"several slides are called {', '.join(twice)}.", param_hint=where)


def _of_sheet(sheet: Path, other: tuple[str, ...]) -> Given:
    """Read a sheet of folders; files are relative to it. All slides are named where one is."""
    if other:
        raise click.UsageError("The sheet says images, alignments, names and donors: leave out these options.")
    header, lines = table_of(sheet, COLUMNS)
    rows = [dict(zip(header, cells, strict=True)) for _, cells in lines]
    rows = [{column: row.get(column, "") for column in COLUMNS} for row in rows]
    rows = [{key: "" if text.lower() in EMPTY else text for key, text in row.items()} for row in rows]
    wrong = [
        f"{column} {row[column]!r}, which is not there (line {number})"
        for (number, _), row in zip(lines, rows, strict=True)
        for column in PATHS
        if (row[column] or column == "folder") and not (row[column] and (sheet.parent / row[column]).exists())
    ]
    if wrong or not rows:
        raise bad_sheet(f"{sheet} has {'; '.join(wrong[:8]) or 'no folder'}.")
    from bleep_sc.io._read_slides import name_of

    folders = [sheet.parent / row["folder"] for row in rows]
    names = [row["name"] or name_of(folder) for row, folder in zip(rows, folders, strict=True)]
    _refuse_twice(names, "--sheet")
    return Given(
        folders,
        names if any(row["name"] for row in rows) else [],
        {name: sheet.parent / row["image"] for name, row in zip(names, rows, strict=True) if row["image"]} or None,
        {name: row["donor"] for name, row in zip(names, rows, strict=True) if row["donor"]},
        {name: [sheet.parent / row["alignment"]] for name, row in zip(names, rows, strict=True) if row["alignment"]}
        or None,
    )
