"""Sheets of slides as people have them: read, or refused with what is wrong, before anything is done."""

import codecs
from pathlib import Path

import anndata as ad
import click
import numpy as np
import pandas as pd
import pytest

from bleep_sc.cli._files import require_unread
from bleep_sc.cli._sheet import Row, free_column, read_sheet, slide_name


@pytest.fixture
def folder(tmp_path):
    """A folder with some slides and a region."""
    for name in ("a.svs", "b slide.svs", "Größe.tif", "region.geojson", "c,d.svs"):
        (tmp_path / name).touch()
    return tmp_path


def sheet(folder, content):
    path = folder / "sheet.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_sheet(path)


def refused(folder, content):
    with pytest.raises(click.BadParameter) as error:
        sheet(folder, content)
    return error.value.message


def test_all_that_a_sheet_says_is_read(folder):
    rows = sheet(folder, "slide,mpp,region,name,patient\na.svs,0.25,region.geojson,first,P1\nb slide.svs,,,,\n")
    assert rows == [
        Row(folder / "a.svs", "first", 0.25, folder / "region.geojson", {"patient": "P1"}),
        Row(folder / "b slide.svs", "b_slide", None, None, {}),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "slide,mpp,name,Patient\na.svs,0.25,first,P1\n",
        "Slide , MPP,NAME , Patient \n a.svs , 0.25 , first,P1 \n",
        "slide;mpp;name;Patient\na.svs;0,25;first;P1\n",
        "slide\tmpp\tname\tPatient\na.svs\t0.25\tfirst\tP1\n",
        "sep=;\r\nslide;mpp;name;Patient\r\na.svs;0,25;first;P1\r\n",
        'slide,mpp,name,Patient\na.svs,"0,25",first,P1\n',
        "slide,mpp,name,Patient,,\n,,,,,\na.svs,0.25,first,P1,,\n,,,,,\n",
        "\n\nslide,mpp,name,Patient\n\na.svs,0.25,first,P1\n\n",
        "Patient,name,mpp,slide\nP1,first,0.25,a.svs",
        '"slide","mpp","name","Patient"\r\n"a.svs","0.25","first","P1"\r\n',
        codecs.BOM_UTF8 + b"slide,mpp,name,Patient\na.svs,0.25,first,P1\n",
        "slide\tmpp\tname\tPatient\na.svs\t0.25\tfirst\tP1\n".encode("utf-16"),
        "slide,mpp,name,Patient,region\na.svs,0.25,first,P1,NA\n",
    ],
)
def test_every_kind_of_sheet_says_the_same(folder, content):
    assert sheet(folder, content) == [Row(folder / "a.svs", "first", 0.25, None, {"Patient": "P1"})]


def test_files_of_any_name_are_found(folder):
    rows = sheet(folder, 'slide\nb slide.svs\nGröße.tif\n"c,d.svs"\n')
    assert [row.slide.name for row in rows] == ["b slide.svs", "Größe.tif", "c,d.svs"]
    assert [row.name for row in rows] == ["b_slide", "Gr_e", "c_d"]
    assert slide_name(rows[0].slide.with_name("..svs")) == "svs"


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "a\\b", "..", ".", "a b", "é", "__x", "x" * 201, "$x"])
def test_a_name_cannot_leave_the_folder(folder, name):
    message = refused(folder, f"slide,name\na.svs,{name}\n")
    assert f"name {name!r}, which must be letters" in message
    assert "(line 2)" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file\na.svs\n", "has the columns 'file'; it needs slide, and may have mpp, region, name"),
        ("", "has the columns none; it needs slide"),
        ("slide,name\n", "has no slide"),
        ("slide,name\n,first\n", r"has no slide (line 2)"),
        ("slide\nNA\n", r"has no slide (line 2)"),
        ("slide,Slide\na.svs,b\n", "has several columns 'slide'. Name them apart"),
        ("slide,name\na.svs,x\nb slide.svs,X\n", "has several slides called x, X; add a column name"),
        ("slide,name\nc,d.svs,first\n", "has 3 cells in line 2, and 2 columns. Put cells that hold the delimiter"),
        ("slide,name\na.svs,Index\n", "name 'Index', and index.html lists all slides; pass another in a column name"),
        ("slide,mpp\na.svs,-1\n", "'-1' as mpp; it must be a number, µm per px (line 2)"),
        ("slide,mpp\na.svs,0\n", "'0' as mpp"),
        ("slide,mpp\na.svs,inf\n", "'inf' as mpp"),
        ('slide,mpp\na.svs,"1,000.5"\n', "'1,000.5' as mpp"),
        ("slide,region\na.svs,gone.geojson\n", "gone.geojson', where there is no file (line 2)"),
        ("slide\n.\n", "where there is no file (line 2)"),
        (b"PK\x03\x04rest of a workbook", "is an Excel or OpenDocument file, and no text. Save it as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "is an old Excel file, and no text"),
        ("slide\nGröße.tif\n".encode("latin-1"), "is no UTF-8"),
        (b"slide\na\0.svs\n", "it has zero bytes"),
        ('slide\n"a.svs\n', "is no table"),
    ],
)
def test_what_is_wrong_with_a_sheet_is_said(folder, content, message):
    assert message in refused(folder, content)


def test_all_that_is_wrong_is_said_at_once(folder):
    message = refused(folder, "slide,mpp\ngone.svs,1\na.svs,x\n,2\nb slide.svs,1\n")
    assert all(f"(line {number})" in message for number in (2, 3, 4))
    assert "(line 5)" not in message
    assert refused(folder, "slide\n" + "gone.svs\n" * 100).endswith("And 92 more.")


def test_columns_are_kept_under_names_that_are_free():
    tiles = ad.AnnData(np.zeros((2, 0)), obs=pd.DataFrame({"tissue": [0.5, 0.6]}, index=["0", "1"]))
    assert free_column("patient", tiles) == "patient"
    assert free_column("Tissue", tiles) == "sheet_Tissue"
    assert free_column("Patient ID (local)", tiles) == "Patient_ID_local"
    assert free_column("spot_id", tiles) == "sheet_spot_id"
    assert free_column("=1+1", tiles) == "1_1"
    assert free_column("", tiles) == "column"
    assert free_column("bleep_confidence", tiles, "bleep_confidence") == "sheet_bleep_confidence"  # written later


def test_every_file_of_a_cohort_is_looked_up_once(tmp_path, monkeypatch):
    slides, outs = ([tmp_path / f"{i}{end}" for i in range(20)] for end in (".svs", ".zarr"))
    looked, resolve = [], Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path: looked.append(path) or resolve(path))
    require_unread(*outs, reads=slides)
    assert sorted(looked) == sorted([*slides, *outs])
    with pytest.raises(click.UsageError, match=r"7\.svs would replace .*7\.svs, which is read"):
        require_unread(*outs, slides[7], reads=slides)
