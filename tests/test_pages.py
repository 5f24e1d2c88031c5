"""Every Python block of the README and of the pages that teach is run as it is written, on toy tissue.

A block below a line ``% not run: why`` is only compiled. Pages that need more have a test of their own.
"""

import gc
import json
import re
import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

import bleep_sc as bs
from bleep_sc.models import encoders as encoders_
from bleep_sc.models.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("index", "installation", "quickstart"))]
PAGES += sorted((ROOT / "docs" / "howto").glob("*.md"))
ELSEWHERE = {
    "compare_conditions": "test_compare_conditions.py",
    "lazyslide": "test_lazyslide.py",
    "large_references": "test_large_references.py",
}
BLOCK = re.compile(r"(?:^% (not run: [^\n]+)\n)?^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SETUPS = {}
generated = cache(bs.datasets.toy)
OF_OTHERS = pytest.mark.filterwarnings("ignore")  # what squidpy, spatialdata and zarr say of themselves


def setup(function):
    """Register what a page finds in its folder and among its names; the function is named after the page."""
    SETUPS[function.__name__] = function
    return function


@pytest.fixture
def _small(monkeypatch):
    """Train for a moment, and take a tiny network for every pretrained one: what is asked is whether it runs."""
    fit, load_encoder = bs.tl.fit, encoders_.load_encoder

    def quick_fit(adata, *, config=None, **kwargs):
        config = replace(config or bs.tl.FitConfig(), max_epochs=1, batch_size=64)
        return fit(adata, config=config, **{**kwargs, "show_progress_bar": False})

    def tiny_encoder(encoder, **kwargs):
        if isinstance(encoder, str) and encoder != "stain_stats":
            return encoders_.Encoder(Net(), torch.nn.Identity(), name=encoder)
        return load_encoder(encoder, **kwargs)

    monkeypatch.setattr(bs.datasets, "toy", lambda n_slices=4: generated(n_slices)[::2].copy())
    monkeypatch.setattr(bs.tl, "fit", quick_fit)
    monkeypatch.setattr(encoders_, "load_encoder", tiny_encoder)


class Net(torch.nn.Module):
    """The mean colours of sixteen parts of a patch."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


def reference(toy):
    """Fitted, on two slices."""
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    bs.tl.fit(ref, use_rep="X_stain_stats")
    return ref


def scan(adata, name="slice3"):
    return adata.uns["spatial"][name]["images"]["hires"]


def write_scan(adata, path):
    """A part of a slide, as a TIFF that says its resolution: 1 µm per px."""
    resolution = {"resolution": (10000, 10000), "resolutionunit": "CENTIMETER"}
    part = np.ascontiguousarray(scan(adata)[400:1200, 400:1200])
    tifffile.imwrite(path, part, tile=(256, 256), photometric="rgb", **resolution)


@setup
def visium(request, **_):
    request.getfixturevalue("visium_slides")

    def check(names):
        assert names["adata"].uns["patches"]["A1"]["mpp"] == pytest.approx(1.25, rel=1e-3)
        assert names["adata"].obs["library_id"].unique().tolist() == ["A1", "B1", "C1"]
        assert "patches" not in names["adata"].obsm
        assert Path("reference.h5ad").is_file()

    return {}, check


@setup
def visium_hd(request, **_):
    request.getfixturevalue("visium_hd")

    def check(names):
        assert names["adata"].uns["bleep"]["method"] == "bleep"

    return {}, check


@setup
def original_st(toy, **_):
    folder = Path("my_data") / "her2st"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    column, row = (axis.ravel() + 1 for axis in np.mgrid[0:5, 0:6])
    for name in ("X1", "X2"):
        spots = [f"{x}x{y}" for x, y in zip(column, row, strict=True)]
        counts = pd.DataFrame(rng.poisson(2.0, (30, 20)), spots, [f"gene{i}" for i in range(20)])
        counts.to_csv(folder / f"{name}.tsv.gz", sep="\t")
        places = pd.DataFrame({"x": column, "y": row, "pixel_x": 290 * column, "pixel_y": 290 * row, "selected": 1})
        places.to_csv(folder / f"{name}_selection.tsv", sep="\t", index=False)
        Image.fromarray(scan(toy)).resize((2200, 2200)).save(folder / f"{name}.jpg")
    shutil.copy(folder / "X1.jpg", "X1.jpg")
    places = places.set_axis(["column", "row", "x", "y", "selected"], axis=1).set_axis(spots, axis=0)

    def check(names):
        for adata in (names["adata"],):
            assert adata.uns["patches"]["X1"]["mpp"] == pytest.approx(200 / 290, rel=1e-3)

    return {"counts": counts, "places": places}, check


@setup
def no_expression(toy, **_):
    reference(toy).write_h5ad("reference.h5ad")
    write_scan(toy, "slide.tif")
    square = [[[100, 100], [700, 100], [700, 600], [100, 600], [100, 100]]]
    annotation = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": square}, "properties": {}}
    Path("annotations.geojson").write_text(json.dumps(annotation))

    def check(names):
        assert names["tiles"].n_obs > 20
        assert Path("slide.geojson").is_file()
        assert Path("predicted.zarr").is_dir()

    return {}, check


@setup
def encoders(toy, **_):
    toy = toy[::3].copy()
    parts = (toy[toy.obs["library_id"] != "slice3"].copy(), toy[toy.obs["library_id"] == "slice3"].copy())
    adata, query = parts
    tiles = query.copy()
    for each in parts:
        each.uns["spatial"] = {name: each.uns["spatial"][name] for name in each.obs["library_id"].unique()}
    features = {
        f"features_of_{name}": each.obsm["X_stain_stats"] for name, each in zip(("adata", "query"), parts, strict=True)
    }
    return {"adata": adata, "query": query, "tiles": tiles, "module": Net(), **features}, None


@setup
def spatialdata(request, **_):
    import spatialdata_io

    folder = request.getfixturevalue("space_ranger")
    read = {"dataset_id": "A1", "fullres_image_file": "scan.tif"}
    other = spatialdata_io.visium(folder, **read)
    other.images["scan"] = other.images["A1_full_image"]

    def check(names):
        assert Path("predicted.zarr").is_dir()
        assert names["sdata"].tables["table"].obsm["patches"].shape[1:] == (112, 112, 3)

    return {"sdata": spatialdata_io.visium(folder, **read), "other": other}, check


@setup
def units(toy, **_):
    query = toy[toy.obs["library_id"] == "slice3"].copy()
    bs.tl.impute(query, ref=reference(toy))
    return {"adata_query": query}, None


@setup
def gene_sets(toy, **_):
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    bs.tl.fit(ref, use_rep="X_stain_stats")
    query = toy[toy.obs["library_id"] == "slice3"].copy()
    bs.tl.impute(query, ref=ref)

    def check(names):
        assert names["adata"].uns["bleep_gene_sets"]["pvalue"].notna().all()
        assert set(names["believed"]) <= set(names["adata"].obs)

    return {"adata": query, "adata_ref": ref}, check


@setup
def growing_reference(toy, **_):
    toy = toy.copy()
    ref = toy[toy.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(ref, use_rep="X_stain_stats")
    other, query = (toy[toy.obs["library_id"] == name].copy() for name in ("slice2", "slice3"))
    unmeasured = other.copy()
    is_measured = np.arange(query.n_obs) % 10 == 0

    def check(names):
        assert (names["query"].obs["bleep_imputed_share"] > 0).any()

    return {
        "adata_ref": ref,
        "other": other,
        "query": query,
        "unmeasured": unmeasured,
        "is_measured": is_measured,
    }, check


@setup
def large_references(toy, **_):
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'bleep-sc[faiss]'")
    first, second, query = (toy[toy.obs["library_id"] == name].copy() for name in ("slice1", "slice2", "slice3"))
    bs.tl.fit(first, use_rep="X_stain_stats")
    second.write_h5ad("other.h5ad")

    def check(names):
        assert names["query"].layers["quick"].shape == query.shape
        assert Path("predicted.zarr").is_dir()

    return {"adata_ref": first, "names": ["other"], "query": query}, check


@setup
def own_method(toy, **_):
    toy = toy[::2].copy()
    toy.X = toy.layers["counts"]

    def check(names):
        assert {"trees", "location", "permuted"} <= set(names["table"]["method"])

    return {"adata": toy}, check


@setup
def add_a_method(toy, monkeypatch, **_):
    """The first block is the file that the row of the second names."""
    Path("offset.py").write_text(blocks(ROOT / "docs" / "howto" / "add_a_method.md")[0][0])
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.delitem(sys.modules, "offset", raising=False)
    monkeypatch.setitem(METHODS, "offset", None)  # which is put back when the test has ended
    ref, query = (toy[(toy.obs["library_id"] != "slice3") == is_ref].copy() for is_ref in (True, False))
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    counts = toy[::2].copy()
    counts.X = counts.layers["counts"]

    def check(names):
        r = names["table"].fillna({"pearson": 0.0}).groupby("method")["pearson"].mean()
        assert r["offset"] > 0.8 * r["ridge"] > 0.05
        assert "mean and a linear layer" in repr(names["model"])
        assert "OffsetConfig()" in repr(names["again"])
        features, query = {"config": {}, "device": "cpu"}, names["adata_query"]
        values = names["predict"](names["again"].module, query.obsm["X_stain_stats"], **features)
        genes = query.var["offset_predicted"].to_numpy()
        np.testing.assert_array_equal(values, query[:, genes].layers["offset"])

    return {"adata": counts, "adata_ref": ref, "adata_query": query}, check


@setup
def cluster(toy, **_):
    ref = reference(toy)
    ref.write_h5ad("fitted.h5ad")
    write_scan(toy, "slide.tif")
    tiles = bs.pp.tile_slide("slide.tif", ref=ref, show_progress_bar=False)
    bs.pp.image_features(tiles, "stain_stats", show_progress_bar=False)
    tiles.write_h5ad("tiles.h5ad")
    counts = toy.copy()
    counts.X = counts.layers["counts"]
    return {"adata": counts, "adata_ref": ref}, None


@setup
def share(toy, monkeypatch, **_):
    write_scan(toy, "slide.svs")
    import huggingface_hub

    monkeypatch.setattr(bs.tl, "push_reference", lambda *args: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name: "liver_reference")
    return {"adata_ref": reference(toy)}, None


@setup
def viewers(toy, **_):
    query = toy[toy.obs["library_id"] == "slice3"].copy()
    bs.tl.impute(query, ref=reference(toy))
    return {"adata_query": query, "image": scan(toy)}, None


def blocks(page):
    """Blocks of a page, and why they are not run."""
    return [(code, why) for why, code in BLOCK.findall(page.read_text())]


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem, marks=OF_OTHERS if page.parent.name == "howto" else ()) for page in PAGES]
)
def test_the_page_runs(page, toy, request, tmp_path, monkeypatch):
    if page.stem in ELSEWHERE:
        assert (Path(__file__).parent / ELSEWHERE[page.stem]).is_file()
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLEEP_SC_DATA", str(tmp_path))
    names, check = SETUPS.get(page.stem, lambda **_: ({}, None))(toy=toy, request=request, monkeypatch=monkeypatch)
    for code, why in blocks(page):
        compiled = compile(code, page.name, "exec")
        if not why:
            exec(compiled, names)
    if check is not None:
        check(names)
    names.clear()
    gc.collect()  # slides that are read when they are needed are closed by it, here, where their warnings are not heard


def test_every_setup_has_its_page():
    assert set(SETUPS) <= {page.stem for page in PAGES}
