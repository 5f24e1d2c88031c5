"""The notebooks run without a warning, on little data; and what is committed of them is what they put out."""

import ast
import json
import logging
import os
import re
from pathlib import Path

import pytest

import bleep_sc as bs

FOLDER = Path(__file__).parents[1] / "notebooks"
SHORT = bs.tl.FitConfig(max_epochs=2, views=("scaled",), n_dims=32)
SMALL = {
    "quickstart": {"n_slices": 3, "max_epochs": 2},
    "her2st": {"sections": ["C3", "C4"], "n_top_genes": 100, "networks": {}, "method": "knn"},
    "whole_slide": {"sections": ["C3", "C5"], "n_top_genes": 300, "spacing_um": 300, "config": SHORT},
    "liver_zonation": {"n_slices": 3, "max_epochs": 2},
    "own_encoder_and_method": {"n_slices": 2},
    "confidence_and_provenance": {"sections": ["C3", "C4", "C5"], "n_top_genes": 100, "config": SHORT},
}
REAL, SLOW = ("her2st", "whole_slide", "confidence_and_provenance"), ("her2st", "confidence_and_provenance")
PATHS = sorted(FOLDER.glob("*.ipynb"))
PLACES = re.compile(r"(?<![\w.])/(work|home|root|tmp|Users|var)/|C:\\\\")


@pytest.fixture(autouse=True)
def _logs_again():
    yield
    logging.disable(logging.NOTSET)


def cells(path, kind="code"):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def run(source, names):
    """Run a cell, and show the value of its last line, as Jupyter does."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "notebook", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "notebook", "eval"), names)
        getattr(value, "_repr_html_", value.__repr__)()


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else []) for path in PATHS]
)
@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")  # ome_zarr, of its own
def test_a_notebook_runs(path, request, tmp_path, monkeypatch):
    if path.stem in REAL:
        request.getfixturevalue("data_folder")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for cell in cells(path):
        run("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", []):
            assert SMALL[path.stem].keys() <= names.keys()
            names |= SMALL[path.stem]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_is_committed_was_put_out_in_one_run(path):
    if not any(cell["outputs"] for cell in cells(path)):
        pytest.skip(f"{path.name} has not been executed: python benchmarks/notebooks.py notebooks/{path.name}")
    assert path.stat().st_size < 1_000_000
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] in ("error", "stream")]
    assert sum("image/png" in output["data"] for output in outputs) >= 2
    assert not PLACES.search(path.read_text())
    data = os.environ.get("BLEEP_SC_DATA")
    assert data is None or data not in path.read_text()


def test_every_notebook_is_known_to_the_tests():
    assert {path.stem for path in PATHS} == set(SMALL)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_links_lead_to_pages(path):
    text = "".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    pages = Path(__file__).parents[1] / "docs" / "notebooks"
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (
            target.startswith("http") or Path(os.path.normpath(pages / target)).exists() or (FOLDER / target).exists()
        ), target
