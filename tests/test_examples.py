"""Every example in a docstring runs, on toy tissue, without a warning."""

import dataclasses
import doctest
import inspect
import re
from functools import cache, reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import AnnData

import bleep_sc as bs

FUNCTIONS = [
    pytest.param(getattr(package, name), id=f"{package.__name__}.{name}")
    for package in (bs.io, bs.pp, bs.tl, bs.pl, bs.bm, bs.datasets)
    for name in package.__all__
    if inspect.isfunction(getattr(package, name))
]

API_PAGE = Path(__file__).parents[1] / "docs" / "api.md"
ON_ARRAYS = [
    pytest.param(listed, id=name)
    for name in re.findall(r"^ +((?:models|slides|metrics)\.[\w.]+)$", API_PAGE.read_text(), flags=re.MULTILINE)
    if not dataclasses.is_dataclass(listed := reduce(getattr, name.split("."), bs))
]

IMPORTED = {"bs": bs, "np": np, "torch": torch}
"""What the API page imports once."""

generated = cache(bs.datasets.toy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where examples write files."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(autouse=True)
def _one_tissue(monkeypatch, folder):
    """Generate each toy tissue once for all examples, which write their files to one folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(bs.datasets, "toy", lambda n_slices=4: generated(n_slices).copy())


def run(function, names):
    (example,) = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs=names)
    assert example.examples
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    runner.run(example, out=report.append, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    return example.globs


@cache
def names_after(function):
    """What the example of a function leaves behind, which other examples go on from."""
    return run(function, before(function))


def before(function):
    """What an example starts from: copies, since others start from the same."""
    follows = re.search(r"After the example of :func:`bleep_sc\.(\w+)\.(\w+)`", function.__doc__)
    names = names_after(getattr(getattr(bs, follows[1]), follows[2])) if follows else IMPORTED
    return {name: each.copy() if isinstance(each, AnnData) else each for name, each in names.items()}


@pytest.mark.parametrize("function", FUNCTIONS + ON_ARRAYS)
def test_example(function):
    run(function, before(function))
