"""What a method was made with is part of what its runs are kept by."""

import functools
import importlib
import multiprocessing
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import Ridge

import bleep_sc as bs
from bleep_sc.bm._ingredients import CHANGES, UNTOLD, made_with, of_both

SCALE = 1.0


@dataclass
class Settings:
    scale: float
    names: tuple[str, ...] = ()


class Scaled:
    def __init__(self, scale):
        self.scale, self.me = scale, self

    def __call__(self, train, query):
        return constant(train, query, self.scale)


class Doubled(Scaled):
    def __call__(self, train, query):
        return constant(train, query, 2 * self.scale)


def constant(train, query, scale=1.0, **kwargs):
    panel = train.var["highly_variable"].to_numpy()
    return np.tile(scale * train[:, panel].X.toarray().mean(axis=0), (query.n_obs, 1))


def reads_its_module(train, query):
    return constant(train, query, SCALE)


def closing_over(value):
    def method(train, query):
        return constant(train, query, np.sum(value))

    return method


def named_alike(doubled):
    if doubled:

        def method(train, query):
            return 2 * constant(train, query)
    else:

        def method(train, query):
            return constant(train, query)

    return method


PAIRS = {
    "a number": (partial(constant, scale=1.0), partial(constant, scale=2.0)),
    "a place": (partial(constant, scale=1.0, x=(1, 2)), partial(constant, scale=1.0, x=[1, 2])),
    "a configuration": (partial(constant, x=Settings(1.0)), partial(constant, x=Settings(2.0))),
    "a preset": (partial(constant, x=bs.tl.FitConfig()), partial(constant, x=bs.tl.FitConfig(max_epochs=3))),
    "a dict": (partial(constant, x={"a": {"b": 1}}), partial(constant, x={"a": {"b": 2}})),
    "an array": (partial(constant, x=np.arange(3)), partial(constant, x=np.array([0, 1, 3]))),
    "its dtype": (partial(constant, x=np.arange(3)), partial(constant, x=np.arange(3.0))),
    "objects in an array": (partial(constant, x=np.array([1, {}])), partial(constant, x=np.array([1, {1: 1}]))),
    "a sparse matrix": (partial(constant, x=sparse.eye(3)), partial(constant, x=sparse.eye(3) * 2)),
    "a set": (partial(constant, x={"a", "b"}), partial(constant, x={"a", "c"})),
    "a path": (partial(constant, x=Path("a")), partial(constant, x=Path("b"))),
    "an estimator": (partial(constant, x=Ridge(1.0)), partial(constant, x=Ridge(2.0))),
    "a random generator": (
        partial(constant, x=np.random.default_rng(0)),
        partial(constant, x=np.random.default_rng(1)),
    ),
    "a function": (partial(constant, x=lambda a: a + 1), partial(constant, x=lambda a: a + 2)),
    "another function of the same name": (named_alike(doubled=False), named_alike(doubled=True)),
    "the same, bound": (partial(named_alike(doubled=False)), partial(named_alike(doubled=True))),
    "a lambda": (lambda train, query: constant(train, query), lambda train, query: constant(train, query, 2)),
    "a closure": (closing_over(1.0), closing_over(2.0)),
    "an array in a closure": (closing_over(np.ones(2)), closing_over(np.zeros(2))),
    "an object": (Scaled(1.0), Scaled(2.0)),
    "a method of an object": (Scaled(1.0).__call__, Scaled(2.0).__call__),
    "an object of another class": (Scaled(1.0), Doubled(1.0)),
    "a positional argument": (partial(np.full, 2), partial(np.full, 3)),
    "a partial of a partial": (partial(partial(constant, x=1), y=2), partial(partial(constant, x=2), y=2)),
}


@pytest.mark.parametrize("what", PAIRS)
def test_methods_that_differ_in(what):
    first, second = PAIRS[what]
    assert made_with(first) == made_with(first)
    assert made_with(first) != made_with(second)
    assert UNTOLD not in {**made_with(first), **made_with(second)}.values()


def test_what_a_function_reads_of_its_module_is_part_of_it(monkeypatch):
    before = made_with(reads_its_module)
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    after = made_with(reads_its_module)
    assert {name for name in before if before[name] != after[name]} == {"SCALE"}
    monkeypatch.setitem(globals(), "constant", lambda *args: None)
    assert "constant" in {name for name in before if before[name] != made_with(reads_its_module)[name]}


def test_bars_make_no_difference_and_equal_things_made_anew_are_equal():
    assert made_with(partial(constant, show_progress_bar=True)) == made_with(constant)
    for make in (lambda: partial(constant, x=Settings(1.0)), lambda: closing_over(np.ones(3)), lambda: Scaled(1.0)):
        assert made_with(make()) == made_with(make())


def test_methods_of_the_package_say_what_they_were_made_with():
    said = made_with(bs.bm.methods(["bleep"], use_rep="X_a", paper=False)["bleep"])
    assert {name: said[name] for name in ("use_rep", "paper", "batch_correct")} == {
        "use_rep": "'X_a'",
        "paper": "False",
        "batch_correct": "False",
    }
    assert "show_progress_bar" not in said


def test_functions_that_call_each_other_end():
    def one(train, query):
        return other(train, query)

    def other(train, query):
        return one(train, query)

    assert made_with(one) == made_with(one)


def test_what_cannot_be_told_says_so(tmp_path):
    with (tmp_path / "file").open("w") as file:
        assert made_with(partial(constant, x=[{"a": file}]))["x"] == UNTOLD
        assert made_with(partial(constant, x=(i for i in range(3))))["x"] == UNTOLD


@pytest.mark.parametrize(
    "value",
    [
        multiprocessing.Lock(),
        torch.zeros(3, dtype=torch.bfloat16),
        functools.reduce(lambda inner, _: [inner], range(3000), []),
    ],
    ids=["a lock", "bfloat16", "3000 lists"],
)
def test_what_cannot_be_copied_or_compared_cannot_be_told(value):
    assert UNTOLD in made_with(closing_over(value)).values()
    assert made_with(partial(constant, x=value))["x"] == UNTOLD


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of the user's, which is written and loaded anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(scale):
        (tmp_path / "my_own_module.py").write_text(OWN_MODULE.format(scale=scale))
        importlib.invalidate_caches()
        module = sys.modules.get("my_own_module")
        return importlib.reload(module) if module else importlib.import_module("my_own_module")

    yield load
    sys.modules.pop("my_own_module", None)


OWN_MODULE = """
class Holds:
    scale = {scale}

def go(train, query):
    panel = train.var["highly_variable"].to_numpy()
    return (Holds.scale * train[:, panel].X.toarray().mean(axis=0))[None].repeat(query.n_obs, axis=0)
"""


def imports_as_it_runs(train, query):
    import my_own_module

    return my_own_module.go(train, query)


def test_a_module_of_the_users_is_told_by_its_file_and_by_what_it_holds(own_module, counts, tmp_path):
    module = own_module(1)

    def method(train, query):
        return module.go(train, query)

    before, also = made_with(method), made_with(imports_as_it_runs)
    assert UNTOLD not in before.values()
    validate(counts, method, tmp_path / "runs")
    own_module(2)
    assert {"module", "module.Holds"} <= {name for name in before if before[name] != made_with(method)[name]}
    assert also != made_with(imports_as_it_runs)
    with pytest.raises(ValueError, match=r"a run of 'm' with other arguments: module, module.Holds.* differ"):
        validate(counts, method, tmp_path / "runs")
    own_module(1)
    assert before == made_with(method)
    module.go = constant
    assert {name for name in before if before[name] != made_with(method)[name]} == {"module.go"}


def test_what_changes_as_a_method_runs_has_no_print():
    assert of_both({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == {"a": "1", "b": CHANGES}


@pytest.fixture
def counts(toy):
    toy.X = toy.layers["counts"].copy()
    return toy[:, :60].copy()


def validate(adata, method, path):
    return bs.bm.cross_validate(adata, {"m": method}, group_key="library_id", n_top_genes=20, path=path)


def test_runs_of_a_method_with_another_configuration_are_refused(counts, tmp_path):
    validate(counts, partial(constant, config=Settings(1.0)), tmp_path)
    validate(counts, partial(constant, config=Settings(1.0)), tmp_path)
    with pytest.raises(ValueError, match=r"a run of 'm' with other arguments: config differ.*another path="):
        validate(counts, partial(constant, config=Settings(2.0)), tmp_path)
    with pytest.raises(ValueError, match=r"a run of 'm' with other arguments: .*function.* differ"):
        validate(counts, named_alike(doubled=True), tmp_path)


def test_what_cannot_be_told_is_run_again_and_said(counts, tmp_path, caplog):
    calls = []

    def method(train, query, unknown):
        calls.append(1)
        return constant(train, query)

    for _ in range(2):
        validate(counts, partial(method, unknown=(i for i in range(3))), tmp_path)
    assert len(calls) == 6
    assert "methods['m'] reads 'unknown', which cannot be compared with what it was before" in caplog.text


def test_runs_on_other_pictures_are_refused(counts, tmp_path):
    validate(counts, constant, tmp_path)
    image = counts.uns["spatial"]["slice1"]["images"]["hires"]
    counts.uns["spatial"]["slice1"]["images"]["hires"] = 255 - image
    with pytest.raises(ValueError, match="another comparison: images differ"):
        validate(counts, constant, tmp_path)
