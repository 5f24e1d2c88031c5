"""What a function returns stands on its page as it is written."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import bleep_sc as bs

SPEC = importlib.util.spec_from_file_location("docstrings", Path(__file__).parents[1] / "docs" / "docstrings.py")
docstrings = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(docstrings)

RETURNING = {
    f"{package}.{name}": getattr(getattr(bs, package), name)
    for package in ("pp", "tl", "pl", "bm", "datasets", "slides", "models", "metrics", "io")
    for name in getattr(bs, package).__all__
    if inspect.isfunction(getattr(getattr(bs, package), name))
    and re.search(r"^(Returns|Yields)$", inspect.getdoc(getattr(getattr(bs, package), name)), flags=re.MULTILINE)
}


def kept(lines):
    docstrings.keep_sentences(None, "function", "name", None, None, lines)
    return lines


def section(name):
    """The words of Returns in the docstring."""
    text = inspect.getdoc(RETURNING[name])
    return re.search(r"^(?:Returns|Yields)\n-+\n(.*?)(?=\n\n[A-Z]\w+\n---|\Z)", text, flags=re.MULTILINE | re.DOTALL)[1]


def test_many_functions_return_something():
    assert len(RETURNING) > 60


@pytest.mark.parametrize("name", RETURNING)
def test_no_line_of_what_is_returned_is_taken_for_a_name(name):
    lines = kept(inspect.getdoc(RETURNING[name]).split("\n"))
    assert not {"Returns", "Yields"} & set(lines)
    start = next(i for i, line in enumerate(lines) if line.startswith((":returns: ", ":yields: ")))
    assert lines[start - 2 : start] == ["", ""]
    assert lines[start].split(" ", 1)[1] == section(name).split("\n")[0]
    after = [line for line in lines[start + 1 :] if line]
    own = after[: next((i for i, line in enumerate(after) if line[0] != " "), None)]
    assert [line.split() for line in own] == [line.split() for line in section(name).split("\n")[1:] if line]


def test_sections_before_and_after_stay():
    lines = [
        *("Do.", "", "Parameters", "----------", "x", "    It.", ""),
        *("Returns", "-------", "The axes: one.", "", "``X`` : int", "    Y.", ""),
        *("Raises", "------", "KeyError", "    No."),
    ]
    assert kept(lines) == [
        *("Do.", "", "Parameters", "----------", "x", "    It.", "", "", ""),
        *(":returns: The axes: one.", "", "          ``X`` : int", "              Y.", ""),
        *("Raises", "------", "KeyError", "    No."),
    ]
    assert kept(["Do.", "", "Returns", "-------", "None."]) == ["Do.", "", "", "", ":returns: None.", ""]
    assert kept(["Do."]) == ["Do."]


@pytest.mark.parametrize("name", RETURNING)
def test_napoleon_changes_no_line_of_it(name):
    napoleon = pytest.importorskip("sphinx.ext.napoleon", reason="Sphinx is not installed")
    config = napoleon.Config(napoleon_google_docstring=False, napoleon_use_rtype=False)
    lines = kept(inspect.getdoc(RETURNING[name]).split("\n"))
    shown = str(napoleon.NumpyDocstring(lines, config, what="function"))
    assert " ".join(section(name).split()) in " ".join(shown.split())
