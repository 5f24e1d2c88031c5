"""``bleep-sc tile`` and ``bleep-sc impute``."""

import contextlib
import json
import re
import shutil
import warnings

import anndata as ad
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import bleep_sc as bs
from bleep_sc import cli
from bleep_sc._adata.gene_ranks import distinct_genes
from bleep_sc._output.locks import held
from bleep_sc.cli import _impute

pytestmark = pytest.mark.filterwarnings("ignore")  # what spatialdata, dask and zarr say of each other


@pytest.fixture(scope="module")
def _files(_fitted, tmp_path_factory):
    folder, ref = tmp_path_factory.mktemp("files"), _fitted.copy()
    del ref.obsm["patches"]
    ref.write_h5ad(folder / "ref.h5ad")
    Image.fromarray(ref.uns["spatial"]["slice3"]["images"]["hires"]).save(folder / "new.png", compress_level=1)
    return folder


@pytest.fixture
def files(_files, fitted, tmp_path):
    """A trained reference without patches, and the image of another slide."""
    del fitted.obsm["patches"]
    return shutil.copytree(_files, tmp_path, dirs_exist_ok=True)


MPP = 1
"""Of the toy's image."""


def run(*arguments):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


def impute(files, *arguments):
    return run("impute", files / "new.png", "--ref", files / "ref.h5ad", "--mpp", 2, *arguments)


def test_a_slide_is_predicted_and_reported(files, fitted):
    result = impute(files, "--out", files / "out.zarr", "--genes", "CYP3A4,HAL,GLUL", "--draw", "HAL", "--geojson")
    assert result.exit_code == 0, result.output
    names = {path.name for path in files.iterdir()}
    assert {"out.zarr", "out.html", "out.png", "out.geojson", "out.groovy"} <= names
    assert not [name for name in names if name.startswith(".")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spatialdata as sd
    table = sd.read_zarr(files / "out.zarr").tables["table"]
    assert table.var_names.tolist() == [gene for gene in fitted.var_names if gene in {"CYP3A4", "HAL", "GLUL"}]
    tiles = bs.pp.tile_slide(files / "new.png", ref=fitted, mpp=2, show_progress_bar=False)
    bs.tl.impute(tiles, ref=fitted)
    np.testing.assert_allclose(table.X, tiles[:, table.var_names].layers["bleep"], rtol=1e-5)
    page = (files / "out.html").read_text()
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)=\"(?!data:)", markup)
    assert "http" not in re.sub(r"data:image/\w+;base64,[^\"]+", "", markup)
    assert not re.search(r"<script[^>]+src=", page)
    for said in ("new.png", "2 (given)", "For research only", "NeurIPS 2023", "3 predicted, of 250", "slice1, slice2"):
        assert said in page
    # Its px are 1 µm wide, not 2.
    assert page.index('<p class="alarm">100% of this slide looks unlike the reference') < page.index(
        "For research only"
    )
    first = json.loads((files / "out.geojson").read_text())["features"][0]
    assert set(first["properties"]["measurements"]) == {"HAL"}


def shown(page):
    """What a page says, without scripts and pictures."""
    return re.sub(r"data:image[^\"]+", "", re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL))


def test_the_page_of_a_store_is_that_of_its_prediction(files):
    result = impute(files, "--out", files / "out.zarr", "--spacing", 200)
    assert result.exit_code == 0, result.output
    result = run("page", files / "out.zarr", "--ref", files / "ref.h5ad", "--out", files / "again.html")
    assert result.exit_code == 0, result.output
    same = [re.sub(r'id="[^"]+"|data-root-id="[^"]+"', "", shown(files / name)) for name in ("out.html", "again.html")]
    assert same[0] == same[1]
    assert run("page", files / "out.zarr", "--out", files / "again.html").exit_code == 2
    (files / "other.zarr").mkdir()
    assert run("page", files / "other.zarr", "--out", files / "third.html").exit_code == 1
    assert not (files / "third.html").exists()


def test_a_script_for_qupath_names_the_outlines_whatever_they_are_called(tmp_path):
    from bleep_sc.cli._qupath import import_script

    odd = tmp_path / "it's ${odd}\\.geojson"
    quoted = str(odd).replace("\\", "\\\\").replace("'", "\\'")
    script = import_script(odd, "my slide.svs")
    assert f"new File('{quoted}')" in script
    assert "Open \" + 'my slide.svs' + \" first" in script
    assert "a detection for every tile" in script
    assert "a detection for every cell" in import_script(odd, "my slide.svs", cells=True)


def test_whose_one_slide_is_can_be_said(files, fitted):
    fitted.obs["donor"] = "P1"
    bs.tl.fit(fitted, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=2), show_progress_bar=False)
    fitted.write_h5ad(files / "ref.h5ad")
    slide = [files / "new.png", "--ref", files / "ref.h5ad", "--mpp", MPP, "--spacing", 300]
    for donor in ("P1", "P2"):
        result = run("impute", *slide, "--donor", donor, "--out", files / f"{donor}.zarr")
        assert result.exit_code == 0, result.output
    assert 'class="caution"' not in shown(files / "P1.html")
    text = shown(files / "P2.html")
    assert text.index("the query is of &#x27;P2&#x27;") < text.index("For research only")


def test_a_sheet_says_whose_the_slides_are_and_the_page_what_is_promised(files, fitted):
    """Of the two sections of one donor that were fitted on, something is known for a third one alone."""
    fitted.obs["Patient"] = "P1"
    bs.tl.fit(fitted, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=2), show_progress_bar=False)
    fitted.write_h5ad(files / "ref.h5ad")
    lines = [f"new.png;{MPP};{name};{donor};x" for name, donor in (("same", "P1"), ("other", "P2"), ("unknown", ""))]
    (files / "sheet.csv").write_text("\n".join(["slide;mpp;name;patient;bleep_confidence", *lines]))
    sheet = ["--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", files / "all"]
    result = run("impute", *sheet, "--spacing", 300)
    assert result.exit_code == 0, result.output
    pages = {name: (files / "all" / f"{name}.html").read_text() for name in ("same", "other", "unknown")}
    assert "learnt on another section of the same donor" in pages["same"]
    assert "not promised: the reference is of one donor" in pages["other"]
    assert "the query is of" in pages["other"]
    assert "whose the query is was not told" in pages["unknown"]
    import spatialdata as sd

    tables = {name: sd.read_zarr(files / "all" / f"{name}.zarr").tables["table"] for name in pages}
    assert tables["same"].var["bleep_predictability"].notna().any()
    assert tables["other"].var["bleep_predictability"].isna().all()
    assert (tables["same"].obs["sheet_bleep_confidence"] == "x").all()
    assert tables["same"].obs["bleep_confidence"].dtype.kind == "f"


def test_genes_that_show_the_same_are_not_drawn_twice():
    rng = np.random.default_rng(0)
    zones, vessels, noise = rng.normal(size=(3, 200))
    patterns = np.column_stack([3 * zones, 2.9 * zones + 0.1 * noise, -2 * zones, 2 * vessels, noise, 0 * noise])
    tiles = ad.AnnData(np.zeros_like(patterns, dtype=np.float32), layers={"bleep": patterns.astype(np.float32)})
    tiles.var["bleep_predicted"] = True
    assert distinct_genes(tiles, "bleep", n=3) == ["0", "3", "4"]
    assert distinct_genes(tiles, "bleep", n=6) == ["0", "3", "4", "5", "1", "2"]  # as many as were asked for


def test_what_is_there_is_not_lost(files):
    (files / "out.zarr").mkdir()
    (files / "out.zarr" / "mine").write_text("x")
    result = impute(files, "--out", files / "out.zarr")
    assert result.exit_code == 2
    assert "exists already" in result.output
    assert impute(files, "--out", files / "out.zarr", "--draw", "NONE", "--overwrite").exit_code == 1
    assert (files / "out.zarr" / "mine").exists()


def test_a_cohort_goes_on_after_a_slide_that_fails(files):
    Image.new("RGB", (300, 300), "white").save(files / "blank.png")
    (files / "sheet.csv").write_text(
        "Slide;mpp;name;Patient;tissue\nnew.png;2;first;P1;liver\nblank.png;2;;P2;\nnew.png;2,0;again;P2;=1+1\n"
    )
    arguments = ["impute", "--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", files / "all"]
    result = run(*arguments, "--genes", "HAL")
    assert result.exit_code == 1
    assert "1 of 3 slides failed: blank" in result.output
    assert "No tile is left" in result.output
    assert {path.name for path in (files / "all").glob("*.zarr")} == {"first.zarr", "again.zarr"}
    assert "[1/3] first: done before" in run(*arguments, "--genes", "HAL").output
    import spatialdata as sd

    obs = sd.read_zarr(files / "all" / "first.zarr").tables["table"].obs
    assert set(obs["Patient"]) == {"P1"}
    assert set(obs["sheet_tissue"]) == {"liver"}
    assert "<th>tissue</th><td>=1+1</td>" in (files / "all" / "again.html").read_text()
    index = (files / "all" / "index.html").read_text()
    for said in ("2 slides", "<h2>Not done</h2>\n<p>blank</p>", "first.html", "again.html", "=1+1"):
        assert said in index
    (files / "all" / "index.html").write_text("mine")
    assert "is of something else, and is kept" in run(*arguments, "--genes", "HAL").output
    assert (files / "all" / "index.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "other"], "holds no model 'other', and has 'bleep'"),
        (["--genes", "NONE"], "asks for 'NONE'"),
        (["--draw", "NONE"], "--draw asks for NONE"),
        (["--min-tissue", "7"], "--min-tissue=7.0 is a share"),
    ],
)
def test_errors_are_messages(files, arguments, message):
    result = impute(files, "--out", files / "out.zarr", *arguments)
    assert result.exit_code == 1
    assert re.search(message, result.output.replace("\n", " "))
    assert not (files / "out.zarr").exists()


def test_a_sheet_must_name_slides(files):
    (files / "sheet.csv").write_text("file\nnew.png\n")
    arguments = ["--ref", files / "ref.h5ad", "--out", files / "all"]
    assert "it needs slide" in run("impute", "--sheet", files / "sheet.csv", *arguments).output
    (files / "sheet.csv").write_text("slide\nnew.png\nnew.png\n")
    assert "several slides called new" in run("impute", "--sheet", files / "sheet.csv", *arguments).output
    assert "Pass one slide, or a sheet" in run("impute", *arguments).output
    (files / "sheet.csv").write_text("slide,mpp\nnew.png,0.5um\n")
    assert "has '0.5um' as mpp; it must be a number" in run("impute", "--sheet", files / "sheet.csv", *arguments).output


def test_whatever_is_wrong_with_a_slide_the_others_go_on(files, monkeypatch):
    done = []

    def work(slide, ref, out, options, **how):
        if out.stem == "first":
            raise TypeError("unforeseen")
        done.append(out.stem)

    monkeypatch.setattr(_impute, "_impute", work)
    (files / "sheet.csv").write_text("slide,name\nnew.png,first\nnew.png,second\n")
    result = run("impute", "--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", files / "all")
    assert result.exit_code == 1
    assert "first failed: TypeError: unforeseen" in result.output
    assert done == ["second"]


def test_spots_are_no_tiles(files, fitted):
    result = run("impute", files / "ref.h5ad", "--ref", files / "ref.h5ad", "--out", files / "out.zarr")
    assert result.exit_code == 1
    assert "ref.h5ad holds neither tiles that bleep-sc tile laid nor spots" in result.output


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "arguments",
    [
        ("tile", "new.png", "--out", "new.h5ad"),
        ("tile", "new.png", "--ref", "ref.h5ad", "--out", "ref.h5ad", "--overwrite"),
        ("tile", "new.png", "--region", "region.geojson", "--out", "region.geojson"),
        ("tile", "ref.h5ad", "--out", "folder/../ref.h5ad"),
        ("impute", "new.png", "--ref", "ref.h5ad", "--out", "new.zarr", "--overwrite"),
        ("impute", "new.png", "--ref", "ref.h5ad", "--out", "ref.h5ad"),
        ("impute", "new.png", "--ref", "ref.h5ad", "--out", "link.h5ad"),
        ("impute", "folder/new.png", "--ref", "ref.h5ad", "--out", "folder", "--overwrite"),
        ("impute", "new.png", "--ref", "ref.h5ad", "--region", "new.geojson", "--geojson", "--out", "new.zarr"),
        ("impute", "--sheet", "sheet.csv", "--ref", "ref.h5ad", "--out", "folder", "--overwrite"),
        ("embed", "ref.h5ad", "--ref", "ref.h5ad", "--out", "."),
        ("embed", "folder/new.h5ad", "ref.h5ad", "--ref", "ref.h5ad", "--out", "folder", "--overwrite"),
    ],
)
def test_no_command_replaces_what_it_reads(files, monkeypatch, arguments):
    (files / "folder").mkdir()
    for name in ("region.geojson", "new.geojson", "folder/new.png", "folder/new.h5ad", "folder/zarr.json"):
        (files / name).write_text(name)
    (files / "link.h5ad").symlink_to("ref.h5ad")
    (files / "sheet.csv").write_text("slide\nfolder/new.png\n")
    before = contents(files)
    monkeypatch.chdir(files)
    result = run(*arguments)
    assert result.exit_code == 2
    said = r"would replace .*, which is read\. Pass another --out|must end in \.(h5ad|zarr)"
    assert re.search(said, result.output.replace("\n", " "))
    assert contents(files) == before


@pytest.mark.parametrize("there", ["out.zarr", "out.html", "out.png", "out.geojson", "out.groovy"])
def test_nothing_beside_the_store_is_replaced_unasked(files, there):
    (files / there).write_text("mine")
    result = impute(files, "--out", files / "out.zarr", "--geojson")
    assert result.exit_code == 2
    assert f"{there} exists already. Pass another --out, or --overwrite" in result.output
    assert (files / there).read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "there", "message"),
    [
        ("impute", "out.zarr", "is a file, and is not replaced"),
        ("impute", "out.html/mine", "is a folder, and is not replaced"),
        ("impute", "out.zarr/mine", "is a folder and no zarr store, and is not replaced"),
        ("tile", "out.png/mine", "is a folder, and is not replaced"),
    ],
)
def test_what_is_of_another_kind_is_never_replaced(files, command, there, message):
    (files / there).parent.mkdir(exist_ok=True)
    (files / there).write_text("mine")
    out = files / ("out.zarr" if command == "impute" else "out.h5ad")
    result = run(command, files / "new.png", "--ref", files / "ref.h5ad", "--mpp", 2, "--out", out, "--overwrite")
    assert result.exit_code == 2
    assert message in result.output
    assert (files / there).read_text() == "mine"


def test_a_sheet_is_checked_before_a_slide_is_read(files, monkeypatch):
    monkeypatch.setattr(_impute, "tiles_of", lambda *args: pytest.fail("a slide was read"))
    for sheet, arguments, message in (
        ("slide,name\nnew.png,a\nnew.png,../evil\n", [], "name '../evil', which must be letters"),
        ("slide,name\nnew.png,a\ngone.png,b\n", [], "where there is no file (line 3)"),
        ("slide,name\nnew.png,a\n", ["--draw", "HAL,NONE"], "--draw asks for NONE"),
        ("slide,name\nnew.png,a\n", ["--genes", "HAL,NONE"], "--genes asks for 'NONE'"),
        ("slide,name\nnew.png,a\n", ["--genes", "HAL", "--draw", "GLUL"], "--draw asks for GLUL"),
        ("slide,name\nnew.png,a\n", ["--genes", ","], "--genes asks for none"),
        ("slide,name\nnew.png,a\nnew.png,mine\n", [], "mine.png exists already"),
    ):
        (files / "sheet.csv").write_text(sheet)
        (files / "all").mkdir(exist_ok=True)
        (files / "all" / "mine.png").write_text("mine")
        given = ["--ref", files / "ref.h5ad", "--out", files / "all"]
        result = run("impute", "--sheet", files / "sheet.csv", *given, *arguments)
        assert result.exit_code in (1, 2)
        assert message in result.output
    assert sorted(path.name for path in (files / "all").iterdir()) == ["mine.png"]


def test_a_slide_that_another_process_writes_is_left_to_it(files, monkeypatch):
    monkeypatch.setattr(_impute, "tiles_of", lambda *args: pytest.fail("a slide was read"))
    (files / "sheet.csv").write_text("slide,name\nnew.png,a\n")
    with held(files / "all" / "a.zarr"):
        result = run("impute", "--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", files / "all")
    assert result.exit_code == 1
    assert "a.zarr' is being written by process" in result.output


def test_tiles_are_not_replaced_unasked(files):
    for name in ("tiles.h5ad", "tiles.png"):
        (files / name).write_text("mine")
        result = run("tile", files / "new.png", "--mpp", 2, "--out", files / "tiles.h5ad")
        assert result.exit_code == 2
        assert "exists already. Pass another --out, or --overwrite" in result.output
        assert (files / name).read_text() == "mine"
        (files / name).unlink()


def test_tiles_are_written_with_a_picture(files):
    arguments = ["--mpp", 2, "--ref", files / "ref.h5ad", "--spacing", 200, "--square"]
    result = run("tile", files / "new.png", "--out", files / "tiles.h5ad", *arguments)
    assert result.exit_code == 0, result.output
    tiles = ad.read_h5ad(files / "tiles.h5ad")
    assert tiles.uns["tiles"]["new"]["layout"] == "square"
    assert tiles.n_vars == 250
    assert (files / "tiles.png").stat().st_size > 1000


def test_processes_of_torchrun_take_every_slide_once(files, monkeypatch):
    """Whatever is done when they start."""
    taken = []
    monkeypatch.setattr(_impute, "_impute", lambda slide, ref, out, options, **how: taken.append(out.stem))
    monkeypatch.setattr("bleep_sc.training.processes.shares.together", contextlib.nullcontext)
    slides = [f"s{i}" for i in range(8)]
    (files / "sheet.csv").write_text("slide,name\n" + "".join(f"new.png,{name}\n" for name in slides))
    (files / "all" / "s4.zarr").mkdir(parents=True)
    counts = []
    for number in range(3):
        for name, value in {"RANK": str(number), "WORLD_SIZE": "3"}.items():
            monkeypatch.setenv(name, value)
        result = run("impute", "--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", files / "all")
        assert result.exit_code == 0, result.output
        counts.append(len(taken))
    assert sorted(taken) == [name for name in slides if name != "s4"]
    assert counts == [3, 5, 7]
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    for name, value in {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"}.items():
        monkeypatch.setenv(name, value)
    result = run("impute", "--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", files / "other")
    assert result.exit_code == 1
    assert "srun started 3 processes, which cannot find each other" in result.output


def test_one_slide_of_a_sheet_is_what_it_is_among_all(files, monkeypatch):
    """Its name, its resolution and its notes are those of its line; the list of all is written by itself."""
    asked = []
    monkeypatch.setattr(_impute, "_impute", lambda slide, ref, out, options, **how: asked.append((out, options)))
    lines = ["slide,name,mpp,site", "new.png,one,0.5,Basel", "new.png,two,,", "new.png,three,1,Ulm"]
    (files / "sheet.csv").write_text("\n".join(lines))
    sheet = ["--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", files / "all"]
    assert run("impute", *sheet).exit_code == 0
    (files / "all").mkdir()
    among_all = list(asked)
    for name in ("two", "one", "three"):
        assert run("impute", *sheet, "--only", name).exit_code == 0
    assert sorted(asked[3:], key=str) == sorted(among_all, key=str)
    assert not (files / "all" / "index.html").exists()
    result = run("impute", *sheet, "--only", "twoo")
    assert result.exit_code == 2
    assert "has no slide 'twoo' (there are: 'one', 'two', 'three'). Did you mean 'two'?" in result.output
    result = run("impute", files / "new.png", "--only", "one", *sheet[2:])
    assert "among those of a sheet (--sheet)" in result.output
    result = run("index", files / "all", "--sheet", files / "sheet.csv")
    assert result.exit_code == 0, result.output
    page = shown(files / "all" / "index.html")
    assert "No slide is done yet." in page
    assert "one, two, three" in page


def test_tiles_that_were_laid_and_described_are_predicted(files, fitted):
    tiles = bs.pp.tile_slide(files / "new.png", ref=fitted, mpp=2, spacing_um=300, show_progress_bar=False)
    bs.pp.image_features(tiles, "stain_stats", show_progress_bar=False)
    tiles.uns["patches"]["new"]["image"] = "gone"  # features are all that is needed
    tiles.write_h5ad(files / "tiles.h5ad")
    seen = []

    def write(tiles, key, out):
        seen.append((tiles, key))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_impute, "_write_store", write)
        patch.setattr(bs.io, "write_page", lambda *args, **kwargs: None)
        arguments = "--ref", files / "ref.h5ad", "--out", files / "out.zarr", "--index", "faiss"
        result = run("impute", files / "tiles.h5ad", *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(seen[0][0].uns["bleep_imputed"]["params"])["index"] == "faiss"
    bs.tl.impute(tiles, ref=fitted)
    np.testing.assert_allclose(seen[0][0][:, "HAL"].layers["bleep"], tiles[:, "HAL"].layers["bleep"], rtol=1e-5)
    result = run("impute", files / "tiles.h5ad", "--ref", files / "ref.h5ad", "--mpp", 2, "--out", files / "b.zarr")
    assert result.exit_code == 1
    assert "The tiles of tiles.h5ad are laid already" in result.output


def test_cells_come_back_with_predictions(files, query):
    rings = [[[x, y], [x + 9, y], [x, y + 9], [x, y]] for x, y in query.obsm["spatial"][::9].tolist()]
    own = [{"geometry": {"type": "Polygon", "coordinates": [ring]}, "id": f"n{i}"} for i, ring in enumerate(rings)]
    features = [{"type": "Feature", **each, "properties": {"objectType": "cell", "color": [1, 2, 3]}} for each in own]
    (files / "cells.geojson").write_text(json.dumps(features))
    given = ("--cells", files / "cells.geojson")
    result = impute(files, *given, "--out", files / "out.zarr", "--genes", "HAL", "--draw", "HAL", "--geojson")
    assert result.exit_code == 0, result.output
    written = json.loads((files / "out.geojson").read_text())
    measured = [each["properties"].pop("measurements") for each in written]
    assert written == features
    assert {*measured[0]} == {"HAL"}
    page, n = shown(files / "out.html"), len(features)
    assert f"<th>cells</th><td>{n} of {n} in cells.geojson</td>" in page
    assert "not that of the cell" in page
    assert "hexagonal" not in page
    assert f"{n} cells, 1 genes. Written: {files / 'out.zarr'}, " in result.output
    assert str(files / "out.groovy") in result.output
    assert "'new.png'" in (files / "out.groovy").read_text()
    arguments = ("--ref", files / "ref.h5ad", "--sheet", files / "cells.geojson", "--out", files / "o")
    assert "cells of one slide" in run("impute", *arguments, *given).output
