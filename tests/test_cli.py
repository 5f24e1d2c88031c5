import re

import anndata as ad
import pandas as pd
import pytest
from click.testing import CliRunner

import bleep_sc as bs
from bleep_sc import cli
from bleep_sc.cli import _demo


@pytest.fixture
def quick(monkeypatch):
    """Two small slices and a short training."""
    fit, toy = bs.tl.fit, bs.datasets.toy
    monkeypatch.setattr(bs.datasets, "toy", lambda random_state: toy(n_slices=2, random_state=random_state))
    monkeypatch.setattr(
        bs.tl, "fit", lambda adata, **kwargs: fit(adata, config=bs.tl.FitConfig(max_epochs=5), **kwargs)
    )
    monkeypatch.setitem(_demo.HELD_OUT, "toy", "slice2")


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


def test_the_benchmark_compares_what_was_asked_for(toy, tmp_path, monkeypatch):
    """The report itself has tests of its own; here it is what it is given."""
    toy.X = toy.layers.pop("counts")
    toy.obs["donor"] = "D"
    toy.write_h5ad(tmp_path / "slides.h5ad")
    given = {}
    monkeypatch.setattr(
        bs.bm,
        "report",
        lambda *args, **kwargs: given.update(kwargs, args=args) or (args[3] / "summary.md").write_text("S"),
    )
    out = tmp_path / "out"
    arguments = ["--data", str(tmp_path / "slides.h5ad"), "--methods", "mean,ridge", "--n-top-genes", "40"]
    result = CliRunner().invoke(
        cli.main, ["benchmark", *arguments, "--patient-key", "donor", "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0
    _, table, predictions, path = given["args"]
    assert set(table["method"]) == {"mean", "location", "ridge", "permuted"}
    assert set(predictions["ridge"]) == {"slice1", "slice2", "slice3"}
    assert path == out
    assert "method" not in given
    assert given["mark"] == "low_quality"
    assert given["patients"] == dict.fromkeys(("slice1", "slice2", "slice3"), "D")
    assert len(list((out / "runs").glob("*.npz"))) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "ridge,foo"], r"names=\['foo'\] are no methods of the package; it has: mean, location"),
        (["--group-key", "batch"], r"Invalid value for --group-key: obs has no column 'batch' \(it has: library_id"),
        (["--patient-key", "man"], "Invalid value for --patient-key: obs has no column 'man'"),
        (["--encoder", "none", "--methods", "ridge"], "ridge need image features: pass use_rep="),
        (["--encoder", "none-such"], "none-such"),
        (["--seeds", "0"], "0 is not in the range"),
    ],
)
def test_errors_are_messages(toy, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(bs.datasets, "toy", lambda: toy.copy())
    result = CliRunner().invoke(cli.main, ["benchmark", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert re.search(message, result.output.replace("\n", " "))
    assert not (tmp_path / "out").exists()


def test_the_traceback_can_be_had(monkeypatch):
    monkeypatch.delenv("BLEEP_SC_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="liver is not downloaded"):
        CliRunner().invoke(cli.main, ["--traceback", "benchmark", "--data", "liver"], catch_exceptions=False)
    result = CliRunner().invoke(cli.main, ["benchmark", "--data", "liver"])
    assert result.exit_code == 1
    assert "--traceback" in result.output


def test_unknown_data_is_named():
    result = CliRunner().invoke(cli.main, ["benchmark", "--data", "nothing"])
    assert result.exit_code == 2
    assert "'nothing' is no known tissue, and no h5ad file" in result.output
