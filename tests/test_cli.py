import errno
import inspect
import re
import shlex
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import click
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import bleep_sc as bs
from bleep_sc import cli
from bleep_sc.bm import _methods
from bleep_sc.cli import _demo, _fit, _spoken

ROOT = Path(__file__).parents[1]


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


@pytest.mark.parametrize("name", ["query.h5ad", "levels.png", "scores.csv"])
def test_the_demo_replaces_nothing_unasked(tmp_path, name):
    (tmp_path / name).write_text("mine")
    result = CliRunner().invoke(cli.main, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert f"{name} exists already. Pass another --out, or --overwrite" in result.output
    assert (tmp_path / name).read_text() == "mine"


def test_the_benchmark_writes_into_a_folder_of_its_own(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    result = CliRunner().invoke(cli.main, ["benchmark", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds other files, which tables and figures may replace. Pass another --out" in result.output


@pytest.mark.parametrize("command", ["benchmark", "embed", "features", "fit", "impute", "index", "page"])
def test_examples_of_commands_stand_on_lines_of_their_own(command):
    shown = CliRunner().invoke(cli.main, [command, "--help"]).output
    assert "\\b" not in shown
    assert re.search(rf"^ +bleep-sc {command} ", shown, flags=re.MULTILINE)


def test_the_list_of_commands_has_whole_sentences_in_the_order_of_the_work():
    listed = CliRunner().invoke(cli.main, ["--help"]).output.partition("Commands:")[2]
    shown = " ".join(listed.split()).replace("- ", "-")  # lines end at hyphens, too
    assert "..." not in shown
    assert re.findall(rf"(?:^|\. )({'|'.join(cli.main.commands)}) [A-Z]", shown) == list(cli.main.commands)
    for command in cli.main.commands.values():
        first, _, _ = " ".join(command.help.split()).partition(". ")
        assert first.removesuffix(".") in shown


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
        lambda *args, **kwargs: given.update(kwargs, args=args) or (args[2] / "summary.md").write_text("S"),
    )

    def fails(train, query, *, use_rep):
        raise RuntimeError("no memory")

    monkeypatch.setitem(_methods.ON_FEATURES, "knn", fails)
    out = tmp_path / "out"
    arguments = ["--data", str(tmp_path / "slides.h5ad"), "--methods", "mean,ridge,knn", "--n-top-genes", "40"]
    arguments += ["--against", "ridge", "--seeds", "2", "--one-seed", "mean,ridge"]
    result = CliRunner().invoke(
        cli.main, ["benchmark", *arguments, "--donor-key", "donor", "--out", str(out)], catch_exceptions=False
    )
    assert result.exit_code == 0
    _, (table, predictions), path = given["args"]
    assert set(table["method"]) == {"mean", "location", "ridge", "permuted"}
    assert set(predictions["ridge"]) == {"slice1", "slice2", "slice3"}
    assert path == out
    assert "Left out, since it failed: knn. RuntimeError: no memory" in result.output
    assert given["against"] == "ridge"
    assert "method" not in given
    assert given["mark"] == "low_quality"
    assert table["donor"].unique().tolist() == ["D"]
    assert table["same_donor"].all()
    assert len(list((out / "runs").glob("*.npz"))) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "ridge,foo"], "--methods has 'foo', which is no method of the package. It has: mean, loc"),
        (["--group-key", "batch"], r"Invalid value for --group-key: obs has no column 'batch' \(it has: library_id"),
        (["--donor-key", "man"], "Invalid value for --donor-key: obs has no column 'man'"),
        (["--encoder", "none", "--methods", "ridge"], "ridge need image features; --encoder names them"),
        (["--encoder", "none-such"], "none-such"),
        (["--seeds", "0"], "0 is not in the range"),
        (
            ["--methods", "mean", "--ablation", "--against", "ridge"],
            r"Invalid value for --against: ridge is not compared \(methods: mean, location, bleep_k50, bleep_k1",
        ),
        (["--methods", "mean", "--one-seed", "mean,hist"], "Invalid value for --one-seed: hist is not compared"),
    ],
)
def test_errors_are_messages(toy, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(bs.datasets, "toy", lambda: toy.copy())
    result = CliRunner().invoke(cli.main, ["benchmark", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert re.search(message, result.output.replace("\n", " "))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--use-rep", "X_no"], r"Run bleep-sc features, or pass the key of features as --use-rep\."),
        (["fit", "--use-rep", "X_stain_stats", "--layer", "no"], "Pass --layer, the name of the layer with"),
        (["fit", "--use-rep", "X_stain_stats", "--library-key", "no"], "Pass --library-key, the column that names"),
        (["fit", "--use-rep", "X_stain_stats", "--set", "max_epochs=0"], r"Error: --set max_epochs=0 must be positive"),
        (["features", "--encoder", "no"], "Encoder 'no' is not known"),
    ],
)
def test_errors_speak_the_options_of_the_command(unfitted, arguments, message):
    command, *options = arguments
    out = str(unfitted.with_name("none.h5ad"))
    result = CliRunner().invoke(cli.main, [command, str(unfitted), *options, "--out", out])
    assert result.exit_code == 1
    assert re.search(message, result.output)
    assert not re.search(r"(?<!--set )\b\w+_\w+=", result.output)


@pytest.mark.parametrize(
    ("command", "message", "spoken"),
    [
        ("tile", "mpp=-1.0 must be positive.", "--mpp=-1.0 must be positive."),
        ("tile", "spacing_um=-3, size=224", "--spacing=-3, size=224"),
        ("impute", "key= names one. Pass ref=[first, other].", "--key names one. Pass ref=[first, other]."),
        (
            "impute",
            "Pass bleep_sc.tl.impute(adata, ref=ref, key=key).",
            "Pass bleep_sc.tl.impute(adata, ref=ref, key=key).",
        ),
        ("impute", "Run bleep_sc.tl.fit(adata_ref) first.", "Run bleep-sc fit first."),
        ("fit", "Seed: random_state=-1; key_added='a'.", "Seed: --seed=-1; --key='a'."),
        ("fit", "FitConfig.tau=3; views= of (use_rep='b')", "FitConfig.tau=3; --set views of (--use-rep='b')"),
        ("prepare", "Pass it: image={'A': 'path'} (on the command line --image A=FILE).", "Pass it: --image A=FILE."),
        (
            "prepare",
            "Name them: a mapping {'A1': 'folder', ...} (on the command line --name, once a folder).",
            "Name them: --name, once a folder.",
        ),
        ("prepare", "Pass a smaller min_counts= (--min-counts).", "Pass a smaller --min-counts."),
        ("tile", "blurred (sharpness below min_sharpness=0.05).", "blurred (sharpness below --min-sharpness=0.05)."),
        (
            "impute",
            "Take one of bleep_sc.models.list_encoders().",
            "Take one of bleep-sc features --list-encoders.",
        ),
        ("prepare", "alignment= says how.", "--alignment says how."),
        ("embed", "batch_size=0 and my.layer=3 stay", "batch_size=0 and my.layer=3 stay"),
    ],
)
def test_arguments_are_options_where_the_command_has_them(command, message, spoken):
    assert _spoken.spoken(message, cli.main.commands[command]) == spoken


def test_warnings_are_lines_and_said_once(monkeypatch):
    def twice(*_, **__):
        for _ in range(2):
            warnings.warn("Spots are odd: pass data= of others.", UserWarning, stacklevel=2)

    monkeypatch.setattr(cli.main.commands["benchmark"], "callback", twice)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = CliRunner().invoke(cli.main, ["benchmark"])
    assert result.stderr == "Warning: Spots are odd: pass --data of others.\n"


def test_a_wrong_file_and_a_wrong_ending_are_named(unfitted, tmp_path):
    image = tmp_path / "scan.jpg"
    Image.new("RGB", (9, 9)).save(image)
    (tmp_path / "notes.txt").write_text("mine")
    for file, kind in (("scan.jpg", "a JPEG image"), ("notes.txt", r"a \.txt file")):
        result = run("impute", unfitted, "--ref", tmp_path / file, "--out", tmp_path / "o.zarr")
        assert re.search(rf"{file}' is {kind}, and no h5ad file\. Were two files given", result.output)
        assert "damaged" not in result.output
    before = sorted(tmp_path.iterdir())
    for command, out, right in (("impute", "q.html", "q.zarr"), ("tile", "x.csv", "x.h5ad")):
        needed = ["--ref", unfitted] if command == "impute" else []
        result = run(command, image, *needed, "--out", tmp_path / out)
        assert result.exit_code == 2
        assert f"as {right}." in " ".join(result.output.split())
    result = run("tile", image, "--mpp", 686, "--out", tmp_path / "x.h5ad")
    assert "--mpp=686 is no microscope's" in result.output
    assert sorted(tmp_path.iterdir()) == before


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


QUICK = ["--set", "max_epochs=2", "--set", "views=scaled", "--set", "cross_fit=false"]


@pytest.fixture
def unfitted(reference, tmp_path):
    """A reference in a file, with features and patches."""
    reference.write_h5ad(tmp_path / "ref.h5ad")
    return tmp_path / "ref.h5ad"


def run(*arguments):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


def test_a_reference_is_fitted_as_in_python(unfitted, reference, query):
    out = unfitted.with_name("fitted.h5ad")
    before = unfitted.read_bytes()
    result = run("fit", unfitted, "--use-rep", "X_stain_stats", *QUICK, "--seed", 3, "--out", out)
    assert result.exit_code == 0, result.output
    config = bs.tl.FitConfig(max_epochs=2, views=("scaled",), cross_fit=False)
    bs.tl.fit(reference, use_rep="X_stain_stats", config=config, random_state=3, show_progress_bar=False)
    fitted = ad.read_h5ad(out)
    np.testing.assert_array_equal(fitted.uns["bleep"]["model"], reference.uns["bleep"]["model"])
    assert unfitted.read_bytes() == before
    bs.tl.impute(query, ref=fitted)
    assert "exists already" in run("fit", unfitted, "--use-rep", "X_stain_stats", *QUICK, "--out", out).output


def test_a_reference_gets_its_model_in_place_and_keeps_the_one_that_it_has(unfitted, monkeypatch):
    given = []
    monkeypatch.setattr(
        bs.tl, "fit", lambda adata, **how: given.append(how) or adata.uns.update(bleep={"genes": ["a"]})
    )
    assert run("fit", unfitted, "--devices", "cpu,cpu", "--checkpoint-dir", "state").exit_code == 0
    assert list(ad.read_h5ad(unfitted).uns["bleep"]["genes"]) == ["a"]
    assert given[0]["devices"] == ["cpu", "cpu"]
    assert given[0]["use_rep"] is None
    assert given[0]["checkpoint_dir"].name == "state"
    result = run("fit", unfitted)
    assert result.exit_code == 2
    assert "holds uns['bleep'] already" in result.output
    assert run("fit", unfitted, "--overwrite", "--devices", "4").exit_code == 0
    assert given[1]["devices"] == 4
    assert [path.name for path in unfitted.parent.iterdir()] == ["ref.h5ad"]


def test_hyper_parameters_are_set_by_name():
    settings = ("chunk_size=64", "temperature=2", "metric=euclidean", "cross_fit=True", "n_components=none")
    config = _fit._config(True, settings)
    paper = vars(bs.tl.FitConfig.paper())
    changed = {"chunk_size": 64, "temperature": 2.0, "metric": "euclidean", "cross_fit": True, "n_components": None}
    assert vars(config) == {**paper, **changed}
    assert type(config.temperature) is float
    assert _fit._config(True, ("views=raw, aligned",)) == replace(bs.tl.FitConfig.paper(), views=("raw", "aligned"))
    assert _fit._config(False, ("views=scaled", "smoothing_um=75")) == bs.tl.FitConfig(
        views=("scaled",), smoothing_um=75.0
    )
    assert _fit._config(False, ()) == bs.tl.FitConfig()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("size=3", "'size' is no field; there are n_dims, dropout, views"),
        ("max_epochs=many", "max_epochs=many is no int"),
        ("max_epochs=2.5", "max_epochs=2.5 is no int"),
        ("train_encoder=1", "train_encoder=1 is no bool"),
        ("n_components=x", "n_components=x is no none or int"),
        ("max_epochs", "max_epochs= is no int"),
        ("views=raw,algned", r"--set views=\('raw', 'algned'\) names 'algned'; use some of \('raw', 'components'"),
        ("views=", r"names ''; use some of"),
        ("views=('raw',)", r"use some of \('raw'"),
        ("batch_size=1", r"--set batch_size=1 must be at least 2"),
    ],
)
def test_settings_that_cannot_be_are_named(unfitted, setting, message):
    result = run("fit", unfitted, "--set", setting)
    assert result.exit_code in (1, 2)
    assert re.search(message, " ".join(result.output.replace("│", "").split()))


def test_features_are_computed_as_in_python(unfitted, reference):
    result = run("features", unfitted, "--encoder", "stain_stats")
    assert result.exit_code == 2
    assert "holds obsm['X_stain_stats'] already" in result.output
    store, out = unfitted.with_name("features.zarr"), unfitted.with_name("out.h5ad")
    result = run(
        "features", unfitted, "--encoder", "stain_stats", "--key-added", "X_new", "--store", store, "--out", out
    )
    assert result.exit_code == 0, result.output
    adata = ad.read_h5ad(out)
    np.testing.assert_array_equal(adata.obsm["X_new"], reference.obsm["X_stain_stats"])
    assert adata.uns["X_new"]["fingerprint"] == reference.uns["X_stain_stats"]["fingerprint"]


def test_slides_of_one_name_cannot_be_embedded_into_one_folder(unfitted, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ref.h5ad").write_bytes(b"")
    result = run("embed", unfitted, tmp_path / "other" / "ref.h5ad", "--ref", unfitted, "--out", tmp_path / "embedded")
    assert result.exit_code == 2
    assert "Several slides are called ref.h5ad" in result.output


def test_processes_of_srun_that_cannot_find_each_other_do_not_train_each_for_itself(unfitted, monkeypatch):
    for name, value in {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}.items():
        monkeypatch.setenv(name, value)
    for command in ("fit", "features"):
        result = run(command, unfitted)
        assert result.exit_code == 1
        assert "srun started 4 processes, which cannot find each other" in result.output


def test_errors_of_processes_and_devices_are_messages_with_their_notes(unfitted, monkeypatch):
    def fail(error):
        def fit(adata, **how):
            raise error

        monkeypatch.setattr(bs.tl, "fit", fit)
        result = run("fit", unfitted)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        return result.output

    assert "Error: Process 0 of 2 could not join the others" in fail(
        RuntimeError("Process 0 of 2 could not join the others")
    )
    full = torch.OutOfMemoryError("CUDA out of memory.")
    full.add_note("Pass FitConfig(chunk_size=32), or less")
    assert "Error: CUDA out of memory.\nPass FitConfig(chunk_size=32), or less" in fail(full)


def test_more_devices_than_there_are_is_a_message(unfitted):
    result = run("fit", unfitted, "--use-rep", "X_stain_stats", "--devices", torch.cuda.device_count() + 2)
    assert result.exit_code == 1
    assert re.search(r"asks for \d+ GPUs, each in a process of its own, and torch sees \d", result.output)


def test_a_full_disk_leaves_the_file_as_it_was(unfitted, monkeypatch):
    def write_h5ad(adata, path):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bs.tl, "fit", lambda adata, **how: adata.uns.update(bleep={"genes": ["a"]}))
    monkeypatch.setattr(ad.AnnData, "write_h5ad", write_h5ad)
    before = unfitted.read_bytes()
    for message in (
        "The disk is full (No space left on device). Nothing was written to",
        "MiB, and 0 are free). Nothing",
    ):
        result = run("fit", unfitted)
        assert result.exit_code == 1
        assert message in " ".join(result.output.split())
        assert unfitted.read_bytes() == before
        assert [path.name for path in unfitted.parent.iterdir()] == ["ref.h5ad"]
        # Before anything is written, since HDF5 crashes on a full disk.
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
        monkeypatch.setattr(ad.AnnData, "write_h5ad", lambda *args: pytest.fail("there is no room"))


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page):
    """Calls of bleep-sc in the code blocks of a page, as lists of arguments."""
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for call in re.findall(r"(?:bleep-sc|-m bleep_sc)\s+([a-z-].*)", line):
                yield shlex.split(re.split(r"&&|\|", call)[0], comments=True)


def test_commands_in_the_documentation_are_found():
    found = [arguments[0] for page in PAGES for arguments in commands(page)]
    assert set(found) >= {"demo", "benchmark", "tile", "features", "fit", "embed", "impute"}
    assert len(list(commands(ROOT / "docs" / "howto" / "cluster.md"))) >= 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documentation_exist(page):
    for name, *arguments in commands(page):
        command = cli.main.commands[name]
        values, *_ = command.make_parser(click.Context(command)).parse_args(arguments)
        if name == "fit":
            _fit._config("paper" in values, tuple(values.get("settings", ())))


def test_encoders_are_listed_without_a_file():
    result = CliRunner().invoke(cli.main, ["features", "--list-encoders"])
    assert result.exit_code == 0
    for row in bs.models.list_encoders().itertuples():
        assert row.Index in result.output
        assert row.page in result.output
    assert "..." not in result.output


@pytest.mark.parametrize("command", ["tile", "impute"])
def test_the_least_sharpness_is_that_of_the_function(command):
    (option,) = [each for each in cli.main.commands[command].params if each.name == "min_sharpness"]
    assert option.default == inspect.signature(bs.pp.tile_slide).parameters["min_sharpness"].default
