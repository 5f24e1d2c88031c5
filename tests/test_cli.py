import anndata as ad
import pandas as pd
import pytest
from click.testing import CliRunner

import bleep_sc as bs
from bleep_sc import cli


@pytest.fixture
def quick(monkeypatch):
    """Two small slices and a short training."""
    fit, toy = bs.tl.fit, bs.datasets.toy
    monkeypatch.setattr(bs.datasets, "toy", lambda random_state: toy(n_slices=2, random_state=random_state))
    monkeypatch.setattr(
        bs.tl, "fit", lambda adata, **kwargs: fit(adata, config=bs.tl.FitConfig(max_epochs=5), **kwargs)
    )
    monkeypatch.setitem(cli.HELD_OUT, "toy", "slice2")


def test_the_demo_writes_what_it_says(quick, tmp_path):
    result = CliRunner().invoke(cli.main, ["demo", "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("levels.png", "patterns.png", "query.h5ad", "reference.h5ad", "scores.csv")
    ]
    scores = pd.read_csv(tmp_path / "out" / "scores.csv", index_col=0)
    assert scores.index.tolist() == ["BLEEP", "ridge, same features", "mean of training spots"]
    assert scores.loc["ridge, same features", "HVG"] > 0.05
    assert f"{scores.loc['BLEEP', 'HEG']:.3f}" in result.output
    query, ref = (ad.read_h5ad(tmp_path / "out" / f"{name}.h5ad") for name in ("query", "reference"))
    assert set(query.obs["library_id"]) == {"slice2"}
    assert set(ref.obs["library_id"]) == {"slice1"}
    bs.tl.impute(query, ref=ref)


def test_version_and_help():
    assert bs.__version__ in CliRunner().invoke(cli.main, ["--version"]).output
    assert "toy|her2st" in CliRunner().invoke(cli.main, ["demo", "--help"]).output
