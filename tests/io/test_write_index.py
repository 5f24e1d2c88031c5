"""The page of a cohort: all slides, however many processes write it."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

import bleep_sc as bs
from bleep_sc._output import html
from bleep_sc.io import _write_index

ODD = "<script>|=1+1</script>"


def page(folder, name, **said):
    """The page of a slide, as far as the index reads it."""
    short = {"slide": name, "notes": {}, "places": 5, "blurred": None, "foreign": 0.5, "unsure": None, "readable": 3}
    short |= {"best": 0.4, "warnings": [], "thumbnail": "", **said}
    (folder / f"{name}.html").write_text(html.page(name, "", [], "", json.dumps(short)))


def test_every_page_is_a_row_and_what_is_not_done_is_said(tmp_path):
    page(tmp_path, "a", notes={"patient": ODD}, warnings=["not to be used"])
    page(tmp_path, "b")
    (tmp_path / "mine.html").write_text("<html>of something else</html>")
    bs.io.write_index(tmp_path, names=["a", "b", "c"])
    text = (tmp_path / "index.html").read_text()
    for said in ("2 slides", "<th>a</th><td>not to be used</td>", "<h2>Not done</h2>\n<p>c</p>", "patient"):
        assert said in text
    assert "mine.html" not in text
    assert ODD not in text
    bs.io.write_index(tmp_path)
    assert "Not done" not in (tmp_path / "index.html").read_text()


def test_an_index_of_something_else_is_kept(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is of something else, and is kept\. Pass another folder"):
        bs.io.write_index(tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="is no folder"):
        bs.io.write_index(tmp_path / "none")


def test_whoever_writes_last_lists_all(tmp_path):
    def one(i):
        page(tmp_path, f"slide{i}")
        bs.io.write_index(tmp_path)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(12)))
    text = (tmp_path / "index.html").read_text()
    assert "12 slides" in text
    assert all(f"slide{i}.html" in text for i in range(12))
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", *(f"slide{i}.html" for i in range(12))}


def test_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(_write_index, "PATIENCE", 0.3)
    with (
        _write_index.held(tmp_path / "index.html"),
        pytest.raises(FileExistsError, match="is being written by process"),
    ):
        bs.io.write_index(tmp_path)
