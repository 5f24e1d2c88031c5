"""What is interrupted at any point leaves what was there, or all that is new."""

import sys
from contextlib import contextmanager

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bleep_sc as bs
from bleep_sc._adata.all_or_nothing import FRAMES, SLOTS, all_or_nothing
from bleep_sc.tl._predictions.record import write_prediction

N, GENES = 6, 4


def state(adata):
    """All that an AnnData holds, as what can be compared."""

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if sparse.issparse(value):
            value = value.toarray()
        if isinstance(value, np.ndarray):
            return value.shape, value.dtype, value.tolist() if value.dtype == object else value.tobytes()
        return value.to_csv() if isinstance(value, pd.DataFrame) else value

    frames = {name: getattr(adata, name).to_csv() for name in FRAMES}
    slots = {
        name: {key: plain(value) for key, value in getattr(adata, name).items() if key is not None} for name in SLOTS
    }
    return {**frames, **slots, "shape": adata.shape, "is_view": adata.is_view}


def made():
    """A small query with an earlier prediction that had more than the next one has, and things of others."""
    adata = ad.AnnData(np.zeros((N, GENES), dtype=np.float32))
    adata.obs["mine"], adata.var["mine"], adata.uns["mine"] = "a", 1, {"kept": [1, 2]}
    adata.obsm["X_mine"], adata.layers["mine"] = np.ones((N, 2)), np.ones((N, GENES))
    write(adata, 1.0, more=True)
    return adata


def write(adata, value, *, more=False):
    names = ["bleep", "bleep_retrieved", "bleep_lower", "bleep_upper"] if more else ["bleep"]
    parts = {
        "layers": {name: np.full(adata.shape, value, dtype=np.float32) for name in names},
        "obs": {"bleep_confidence": np.full(adata.n_obs, value)},
        "obsm": {
            "X_bleep_image": np.full((adata.n_obs, 2), value),
            "bleep_weights": sparse.csr_matrix(np.eye(adata.n_obs)),
        },
    }
    write_prediction(adata, "bleep", {"value": value}, np.ones(adata.n_vars, dtype=bool), parts)


class Interrupts:
    """Raises KeyboardInterrupt at a line, of whatever module, once."""

    def __init__(self, at):
        self.at, self.n = at, 0

    def __call__(self, frame, event, argument):
        if event == "line":
            self.n += 1
            if self.n == self.at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def interrupted(work, at):
    """Do it, interrupted at a line; return how many lines were begun, and whether it was."""
    trace, before = Interrupts(at), sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return trace.n, True
    finally:
        sys.settrace(before)
    return trace.n, False


@pytest.mark.parametrize("n", [20, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("make", [made, lambda: made()[1:]], ids=["itself", "a view"])
@pytest.mark.filterwarnings("ignore")  # that a view is made an object of its own
def test_an_interrupted_prediction_is_the_old_or_the_new_one(make, n):
    old = state(make())
    done = make()
    n_lines, _ = interrupted(lambda: write(done, 2.0), at=0)
    new = state(done)
    assert old != new
    assert "bleep_retrieved" not in new["layers"]
    seen = []
    for at in np.random.default_rng(0).permutation(np.arange(1, n_lines + 1))[:n]:
        adata = make()
        _, was_interrupted = interrupted(lambda: write(adata, 2.0), at)  # noqa: B023 - it is called at once
        if was_interrupted:
            found = state(adata)
            assert found in (old, new), at
            seen.append(found == new)
    assert len(seen) > n / 3  # warnings that were given once make it shorter


def test_what_was_interrupted_can_be_gone_on_with(tmp_path):
    adata = made()

    def work():
        with all_or_nothing(adata):
            adata.obs["mine"] = "changed"
            adata.obs["new"] = 1
            del adata.uns["mine"]
            del adata.layers["mine"]
            adata._inplace_subset_obs(np.arange(N) > 2)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        work()
    assert state(adata) == state(made())
    adata.write_h5ad(tmp_path / "a.h5ad")
    write(adata, 3.0)
    assert adata.layers["bleep"].max() == 3


@pytest.fixture(scope="module")
def _small(_toy):
    ref = _toy[_toy.obs["library_id"] == "slice1", :40][::4].copy()
    config = bs.tl.FitConfig(max_epochs=1, views=("scaled",), n_dims=8, n_neighbors=5, cross_fit=False)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    query = _toy[_toy.obs["library_id"] == "slice3", :40][:20].copy()
    made_up = {"layers": {"bleep": query.X.toarray() + 1}}
    write_prediction(query, "bleep", {}, np.ones(query.n_vars, dtype=bool), made_up)
    return query, ref


@pytest.fixture
def small(_small):
    """A few spots with a prediction that was made up, and a reference."""
    return _small[0].copy(), _small[1]


class Stop(Exception):
    pass


@contextmanager
def failing(adata):
    with all_or_nothing(adata):
        yield
        raise Stop


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("pp._extract_patches", lambda adata, ref: bs.pp.extract_patches(adata, size=200, pad="drop")),
        (
            "pp._image_features",
            lambda adata, ref: bs.pp.image_features(adata, "stain_stats", key_added="X_new", show_progress_bar=False),
        ),
        ("pp._spatial_context", lambda adata, ref: bs.pp.spatial_context(adata, "X_stain_stats", radius_um=200)),
        ("pp._normalize_stains", lambda adata, ref: bs.pp.normalize_stains(adata)),
        ("pp._select_genes", lambda adata, ref: bs.pp.select_genes(adata, n_top_genes=10)),
        ("tl._embed", lambda adata, ref: bs.tl.embed(adata, ref, expression=True)),
        ("tl._predictions.record", lambda adata, ref: bs.tl.impute(adata, ref)),
        ("tl._score", lambda adata, ref: bs.tl.score(adata)),
        ("tl._gene_correlation", lambda adata, ref: bs.tl.gene_correlation(adata)),
    ],
)
def test_functions_write_nothing_outside(small, monkeypatch, module, call):
    query, ref = small
    before = state(query)
    monkeypatch.setattr(f"bleep_sc.{module}.all_or_nothing", failing)
    with pytest.raises(Stop):
        call(query, ref)
    assert state(query) == before
    monkeypatch.undo()
    call(query, ref)
    assert state(query) != before
