"""Every example in a docstring runs, on toy tissue, without a warning."""

import doctest
import inspect
from functools import cache

import matplotlib.pyplot as plt
import pytest

import bleep_sc as bs

FUNCTIONS = [
    pytest.param(getattr(package, name), id=f"{package.__name__}.{name}")
    for package in (bs.pp, bs.tl, bs.pl, bs.datasets)
    for name in package.__all__
    if inspect.isfunction(getattr(package, name))
]

generated = cache(bs.datasets.toy)


@pytest.fixture(autouse=True)
def _one_tissue(monkeypatch):
    """Generate each toy tissue once for all examples."""
    monkeypatch.setattr(bs.datasets, "toy", lambda n_slices=4: generated(n_slices).copy())
    yield
    plt.close("all")


def run(function, names):
    (example,) = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs=names)
    assert example.examples
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    runner.run(example, out=report.append, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    return example.globs


@pytest.mark.parametrize("function", FUNCTIONS)
def test_example(function):
    follows = "After the example of :func:`bleep_sc.tl.impute`" in function.__doc__
    run(function, run(bs.tl.impute, {}) if follows else {})
