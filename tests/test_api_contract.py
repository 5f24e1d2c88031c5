"""What every public function promises, whatever it does."""

import inspect
import re
from pathlib import Path

import pytest

import bleep_sc as bs

MAKERS = {
    "check_reference",
    "gather_cells",
    "load_model",
    "load_reference",
    "prepare",
    "pseudobulk",
    "push_reference",
    "save_model",
    "share_reference",
    "sum_bins",
    "tile_slide",
    "write_index",
    "write_page",
    "to_anndata",
    "to_geojson",
    "to_spatialdata",
    "to_table",
}
FIRST = {
    "check_reference": "path",
    "load_model": "reference",
    "load_reference": "path",
    "prepare": "folders",
    "push_reference": "path",
    "tile_slide": "image",
    "write_index": "folder",
}
OF_TABLES = {"benchmark", "top_genes"}
API_PAGE = Path(__file__).parents[1] / "docs" / "api.md"
FUNCTIONS = [
    pytest.param(namespace, getattr(package, name), id=f"{namespace}.{name}")
    for namespace, package in (("io", bs.io), ("pp", bs.pp), ("tl", bs.tl), ("pl", bs.pl))
    for name in package.__all__
    if inspect.isfunction(getattr(package, name))
]


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_signature(namespace, function):
    parameters = list(inspect.signature(function).parameters.values())
    of = "table" if namespace == "pl" and function.__name__ in OF_TABLES else "adata"
    assert parameters[0].name == FIRST.get(function.__name__, of)
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert len(positional) <= 3, f"positional: {positional}"
    assert all(p.annotation is not p.empty for p in parameters)
    copy = next((p for p in parameters if p.name == "copy"), None)
    if namespace != "pl" and function.__name__ not in MAKERS:
        assert copy is not None
        assert copy.kind is copy.KEYWORD_ONLY
        assert copy.default is False
    else:
        assert copy is None


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_docstring(namespace, function):
    text = inspect.getdoc(function)
    sections = re.findall(r"^([A-Z][A-Za-z ]+)\n-+$", text, flags=re.MULTILINE)
    assert {"Parameters", "Returns", "Examples"} <= set(sections)
    documented = text.split("Parameters\n----------\n")[1].split("\n\nReturns\n")[0]
    names = {
        name.strip()
        for line in re.findall(r"^(\w[\w, ]*)$", documented, flags=re.MULTILINE)
        for name in line.split(",")
    }
    expected = set(inspect.signature(function).parameters)
    assert names == expected
    assert ">>> bs." in text or f"bs.{namespace}.{function.__name__}" in text


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_listed_in_the_api_page(namespace, function):
    assert re.search(rf"^\s*{namespace}\.{function.__name__}$", API_PAGE.read_text(), flags=re.MULTILINE)


def test_nothing_else_is_public():
    for namespace in ("bm", "datasets", "io", "pl", "pp", "tl"):
        package = getattr(bs, namespace)
        modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
        assert all(name.startswith("_") for name in modules), namespace
        assert package.__all__ == sorted(package.__all__)


def test_slides_shows_what_the_api_page_lists():
    listed = re.findall(r"^\s*slides\.(\w+)$", API_PAGE.read_text(), flags=re.MULTILINE)
    assert sorted(listed) == bs.slides.__all__


def test_completion_shows_what_is_public():
    for name in bs.SUBPACKAGES:
        package = getattr(bs, name)
        assert dir(package) == sorted(package.__all__), name
