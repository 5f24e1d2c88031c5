"""A sheet of slides, as people have them: a text file with a row for every slide."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bleep_sc._output.messages import did_you_mean, listed
from bleep_sc.tl._to_spatialdata import SPOT_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData

COLUMNS = ("slide", "mpp", "region", "name")
"""Of a sheet; the first is needed. All others are noted beside the slide."""
DELIMITERS = (",", ";", "\t")
EMPTY = ("", "na", "n/a", "nan", "none", "null")
"""What stands in a cell that says nothing, in any case."""
BINARY = {b"PK\x03\x04": "an Excel or OpenDocument file", b"\xd0\xcf\x11\xe0": "an old Excel file", b"%PDF": "a PDF"}
NAME = re.compile(r"(?!\.+$)(?!__)[A-Za-z0-9_.-]{1,200}")
"""Names of slides are names of files, and of elements of SpatialData."""


@dataclass(frozen=True)
class Row:
    """One slide of a sheet."""

    slide: Path
    name: str
    mpp: float | None
    region: Path | None
    notes: Mapping[str, str]
    """What other columns say."""


def read_sheet(sheet: Path, only: str | None = None) -> list[Row]:
    """Read a sheet of slides, or the one of a name; files are relative to it, and must be there.

    All that is wrong is said at once.
    """
    header, cells = table_of(sheet, COLUMNS)
    rows, wrong = [], []
    for number, line in cells:
        try:
            rows.append(_row(dict(zip(header, line, strict=True)), sheet.parent))
        except ValueError as error:
            wrong.append(f"{error} (line {number})")
    names = [row.name.casefold() for row in rows]  # as some disks compare them
    twice = [row.name for row in rows if names.count(row.name.casefold()) > 1]
    if twice:
        wrong.append(f"several slides called {', '.join(dict.fromkeys(twice))}; add a column name")
    if not rows and not wrong:
        wrong.append("no slide")
    if wrong:
        rest = f" And {len(wrong) - 8} more." if len(wrong) > 8 else ""
        raise bad_sheet(f"{sheet} has {'; '.join(wrong[:8])}.{rest}")
    if only is not None and only not in (names := [row.name for row in rows]):
        said = f"{sheet} has no slide {only!r} (there are: {listed(names)}).{did_you_mean([only], names)}"
        raise click.BadParameter(said, param_hint="--only")
    return [row for row in rows if only in (None, row.name)]


def slide_name(slide: Path) -> str:
    """Return the name that a slide has by its file, with what other programs take no names with replaced."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", slide.name.split(".")[0] or slide.name).strip("_.") or "slide"


def free_column(column: str, tiles: AnnData, *written: str) -> str:
    """Return under which name a column of a sheet is kept in obs: none that files know not, or that is taken.

    ``written`` are names that are taken later.
    """
    name = re.sub(r"[^\w.-]+", "_", column).strip("_") or "column"
    taken = {SPOT_ID, "_index", *(each.lower() for each in (*tiles.obs, *written))}
    return name if name.lower() not in taken else free_column(f"sheet_{name}", tiles, *written)


def _row(cells: dict[str, str], folder: Path) -> Row:
    known = {column: None if cells.get(column, "").lower() in EMPTY else cells[column] for column in COLUMNS}
    if known["slide"] is None:
        raise ValueError("no slide")
    slide = folder / known["slide"]
    region = None if known["region"] is None else folder / known["region"]
    for what, file in (("slide", slide), ("region", region)):
        if file is not None and not file.is_file():
            raise ValueError(f"{what} {str(file)!r}, where there is no file")
    name = slide_name(slide) if known["name"] is None else known["name"]
    if not NAME.fullmatch(name):
        raise ValueError(
            f"name {name!r}, which must be letters, digits, '_', '.' and '-' alone: files in --out are called so"
        )
    if name.casefold() == "index":
        raise ValueError(f"name {name!r}, and index.html lists all slides; pass another in a column name")
    notes = {column: text for column, text in cells.items() if column not in COLUMNS and text}
    return Row(slide, name, _mpp(known["mpp"]), region, notes)


def _mpp(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        mpp = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        mpp = math.nan
    if not 0 < mpp < math.inf:
        raise ValueError(f"{text!r} as mpp; it must be a number, µm per px")
    return mpp


def table_of(sheet: Path, columns: Sequence[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and the cells of every line that has any, with its number.

    ``columns`` are those that have a meaning; the first of them is needed.
    """
    text = _text(sheet)
    said = re.match(r"sep=(.)\r?\n", text)  # of Excel
    try:
        lines = list(_lines(text[said.end() :], said[1]) if said else _lines(text, _delimiter(text, columns[0])))
    except csv.Error as error:
        raise bad_sheet(f"{sheet} is no table ({error}). Save it as CSV.") from error
    header = [name.lower() if name.lower() in columns else name for name in (lines[0][1] if lines else [])]
    while header and not header[-1]:
        header.pop()
    if columns[0] not in header:
        raise bad_sheet(
            f"{sheet} has the columns {listed(header)}; it needs {columns[0]}, and may have {', '.join(columns[1:])}."
        )
    again = sorted({name for name in header if name and header.count(name) > 1})
    if again:
        raise bad_sheet(f"{sheet} has several columns {listed(again)}. Name them apart.")
    for number, line in lines[1:]:
        if any(line[len(header) :]):
            raise bad_sheet(
                f"{sheet} has {len(line)} cells in line {number}, and {len(header)} columns. Put cells that hold the "
                "delimiter into quotes."
            )
    return header, [(number, (line + [""] * len(header))[: len(header)]) for number, line in lines[1:] if any(line)]


def _lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    for line in reader:
        yield reader.line_num, [cell.strip() for cell in line]


def _delimiter(text: str, column: str) -> str:
    """Return the delimiter by which there is a column of a name."""
    first = text.splitlines()[0] if text.strip() else ""
    for delimiter in DELIMITERS:
        if column in [cell.strip().strip('"').strip().lower() for cell in first.split(delimiter)]:
            return delimiter
    return max(DELIMITERS, key=first.count)


def _text(sheet: Path) -> str:
    content = sheet.read_bytes()
    for start, kind in BINARY.items():
        if content.startswith(start):
            raise bad_sheet(f"{sheet} is {kind}, and no text. Save it as CSV (comma separated, UTF-8).")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # "Unicode text" of Excel
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_sheet(f"{sheet} is no UTF-8 ({error}). Save it as CSV UTF-8.") from error
    if "\0" in text:
        raise bad_sheet(f"{sheet} is no text: it has zero bytes. Save it as CSV UTF-8.")
    return text.lstrip("\r\n \ufeff")


def bad_sheet(message: str) -> click.BadParameter:
    """Return an error about a sheet."""
    return click.BadParameter(message, param_hint="--sheet")
