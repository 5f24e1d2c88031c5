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

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from anndata import AnnData
from PIL import Image

import bleep_sc as bs
from bleep_sc.models import encoders as encoders_
from bleep_sc.models.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("index", "installation", "quickstart"))]
PAGES += [ROOT / "docs" / f"{name}.md" for name in ("questions", "what_changed")]
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
def prepare(request, monkeypatch, **_):
    slides = request.getfixturevalue("visium_slides")
    monkeypatch.chdir(slides)
    (block,) = BLOCK.findall((ROOT / "docs" / "howto" / "prepare.md").read_text(encoding="utf-8"))
    assert len([line for line in block[1].splitlines() if line]) == 8  # from the folders to the page
    scan, per_cm = tifffile.imread(slides / "C1" / "scan.tif"), 1e4 / 1.25
    tifffile.imwrite("slide.tif", scan, photometric="rgb", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")

    def check(names):
        assert Path("slide.html").is_file()
        assert names["query"].layers["bleep"].shape == (names["query"].n_obs, names["adata"].n_vars)
        assert names["adata"].obs.groupby("library_id", observed=True)["donor"].first().tolist() == ["P1", "P1", "P2"]
        assert "bleep" in names["adata"].uns

    return {}, check


@setup
def visium_hd(request, **_):
    request.getfixturevalue("visium_hd")

    def check(names):
        assert names["adata"].uns["bleep"]["method"] == "bleep"

    return {}, check


@setup
def xenium(request, **_):
    folder = request.getfixturevalue("xenium")
    shutil.copytree(folder / "outs", "lung")
    shutil.copy(folder / "outs" / "toy_he_image.ome.tif", "scan.tif")
    truth = np.load(folder / "truth.npz")
    cells = AnnData(truth["counts"].astype(np.float32), obsm={"spatial": truth["cells"]})

    def check(names):
        assert names["adata"].uns["bleep"]["method"] == "bleep"
        assert names["adata"].uns["patches"]["lung"]["mpp"] == pytest.approx(1.25, rel=1e-3)
        assert names["spots"].n_obs > 20

    return {"cells": cells}, check


@setup
def bulk(toy, monkeypatch, **_):
    names = ["A1", "B1", "C1"]
    for name, slide in zip(names, ("slice1", "slice2", "slice3"), strict=True):
        part = toy.copy()
        part.uns["spatial"]["slice3"] = toy.uns["spatial"][slide]
        write_scan(part, f"{name}.tif")
    shutil.copy("C1.tif", "new.tif")
    counts = np.random.default_rng(0).poisson(10.0, (3, 20))
    pd.DataFrame(counts, names, [f"GENE{i}" for i in range(20)]).to_csv("counts.csv")
    fit, quick = bs.tl.fit_he2rna, bs.tl.HE2RNAConfig(max_epochs=2)
    monkeypatch.setattr(bs.tl, "fit_he2rna", lambda *args, **kwargs: fit(*args, **kwargs, config=quick))

    def check(names):
        assert list(bs.tl.load_model(names["bulk"], "he2rna").description.slides) == ["A1", "B1", "C1"]
        assert np.isfinite(names["query"].layers["he2rna"]).all()

    return {}, check


@setup
def original_st(toy, **_):
    folder = Path("my_data")
    folder.mkdir()
    rng = np.random.default_rng(0)
    column, row = (axis.ravel() + 1 for axis in np.mgrid[0:5, 0:6])
    for name in ("X1", "X2"):
        spots = [f"{x}x{y}" for x, y in zip(column, row, strict=True)]
        counts = pd.DataFrame(rng.poisson(10.0, (30, 20)), spots, [f"gene{i}" for i in range(20)])
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
    toy = toy[::6].copy()
    parts = (toy[toy.obs["library_id"] != "slice3"].copy(), toy[toy.obs["library_id"] == "slice3"].copy())
    adata, query = parts
    tiles = query.copy()
    bs.pp.extract_patches(tiles, size=224, size_um=112)
    write_scan(query, "slide.tif")
    Path("features_uni_v2").mkdir()
    with h5py.File("features_uni_v2/slide.h5", "w") as file:
        file["coords"], file["features"] = [[100, 100], [356, 100]], np.ones((2, 1536))
        file["coords"].attrs.update({"patch_size": 256, "patch_size_level0": 256})
    for each in parts:
        each.uns["spatial"] = {name: each.uns["spatial"][name] for name in each.obs["library_id"].unique()}
    features = {
        f"features_of_{name}": each.obsm["X_stain_stats"] for name, each in zip(("adata", "query"), parts, strict=True)
    }

    def check(names):
        assert names["tiles"].obsm["X_uni2-h"].shape == (2, 1536)
        assert names["tiles"].uns["patches"]["slide"]["side_px"] == 256
        assert Path("spots.h5").is_file()

    return {"adata": adata, "query": query, "tiles": tiles, "module": Net(), **features}, check


@setup
def spatialdata(request, **_):
    import spatialdata_io

    folder = request.getfixturevalue("space_ranger")
    read = {"dataset_id": "A1", "fullres_image_file": "scan.tif"}
    other = spatialdata_io.visium(folder, **read)
    other.images["scan"] = other.images["A1_full_image"]

    def check(names):
        assert Path("predicted.zarr").is_dir()
        assert names["sdata"].tables["table"].obsm["patches"].shape[1:] == (224, 224, 3)

    return {"sdata": spatialdata_io.visium(folder, **read), "other": other}, check


@setup
def cells(toy, **_):
    import geopandas
    from shapely.geometry import box
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel

    reference(toy).write_h5ad("reference.h5ad")
    write_scan(toy, "slide.tif")
    outlines = [box(x, y, x + 9, y + 12) for x in range(60, 760, 90) for y in range(60, 760, 110)]
    frame = geopandas.GeoDataFrame({"geometry": outlines})
    content = json.loads(frame.to_json())
    for number, feature in enumerate(content["features"]):
        feature["properties"] = {"objectType": "cell", "classification": {"name": "AB"[number % 2]}}
    Path("cells.geojson").write_text(json.dumps(content))
    pixels = np.ascontiguousarray(scan(toy)[400:1200, 400:1200])
    images = {"scan": Image2DModel.parse(pixels, dims=("y", "x", "c"))}

    def check(names):
        assert names["sdata"].tables["bleep"].n_obs == len(outlines)
        written = json.loads(Path("predicted.geojson").read_text())["features"]
        assert {*written[0]["properties"]["measurements"]} == {"CYP3A4", "HAL"}

    return {"sdata": SpatialData(images=images, shapes={"nuclei": ShapesModel.parse(frame)})}, check


@setup
def finer(request, **_):
    request.getfixturevalue("visium_slides")

    def check(names):
        assert "bleep_conserved" in names["tiles"].layers

    return {}, check


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
def serial_sections(toy, **_):
    query, counts = toy[toy.obs["library_id"] == "slice3"].copy(), toy.copy()
    counts.X = counts.layers["counts"]

    def check(names):
        assert "bleep_place_upper" in names["query"].layers
        assert "bleep_place" in set(names["table"]["method"])

    return {"adata_ref": reference(toy), "query": query, "counts": counts}, check


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
def external_models(toy, **_):
    ref, query = toy[toy.obs["library_id"] != "slice3"].copy(), toy[toy.obs["library_id"] == "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=20)
    random = np.random.default_rng(0)
    for side in (ref, query):
        side.layers["theirs"] = (2 * side.X.toarray() + random.normal(size=side.shape)).astype(np.float32)
    counts = toy[::2].copy()
    counts.X = counts.layers["counts"]
    counts.layers["theirs"] = random.normal(size=counts.shape).astype(np.float32)
    AnnData(counts.X * 0.5, obs=counts.obs[[]], var=counts.var[[]]).write_h5ad("predicted.h5ad")
    network = encoders_.load_encoder(Net(), transform=torch.nn.Identity())
    panel = counts.var_names[:48].tolist()  # the mean colours of sixteen parts

    def check(names):
        marked = names["summary"].groupby("method")["trained_elsewhere"].any()
        assert marked[marked].index.tolist() == ["theirs"]
        assert "theirs_corrected" in names["adata_query"].layers

    return {"adata": counts, "adata_ref": ref, "adata_query": query, "network": network, "panel": panel}, check


@setup
def register(toy, **_):
    """A slide that was scanned again after a quarter turn, and its alignment in every form that the page names."""
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel
    from spatialdata.transformations import Affine, Identity

    del toy.uns["patches"], toy.obsm["patches"], toy.uns["X_stain_stats"]
    adata = toy[toy.obs["library_id"] == "slice1"].copy()
    adata.obs["library_id"] = adata.obs["library_id"].astype(str).replace("slice1", "A1")
    image = np.asarray(Image.fromarray(scan(toy, "slice1")).reduce(3))
    factors = {"tissue_hires_scalef": 1 / 3, "spot_diameter_fullres": 55.0}
    adata.uns["spatial"] = {"A1": {"images": {"hires": image}, "scalefactors": factors}}
    turned = np.ascontiguousarray(np.rot90(image, -1))
    matrix = np.array([[0, -1 / 3, turned.shape[1]], [1 / 3, 0, 0], [0, 0, 1]])
    for name in ("scan.tif", "next.tif"):
        tifffile.imwrite(name, turned, photometric="rgb")
    at = np.array([[300.0, 200.0], [1650.0, 350.0], [1500.0, 1400.0], [250.0, 1500.0]])
    for name, places in (("measured", at), ("scan", bs.slides.transform_points(at, matrix))):
        points = {"type": "MultiPoint", "coordinates": places.tolist()}
        Path(f"{name}.geojson").write_text(json.dumps({"type": "Feature", "geometry": points, "properties": {}}))
    there = bs.slides.transform_points(adata.obsm["spatial"], matrix)
    rows, columns = adata.obs["array_row"], adata.obs["array_col"]
    spots = [
        {"row": int(row), "col": int(column), "imageX": x, "imageY": y}
        for row, column, (x, y) in zip(rows, columns, there, strict=True)
    ]
    Path("alignment.json").write_text(json.dumps({"serialNumber": "V1", "area": "A1", "oligo": spots}))
    circles = ShapesModel.parse(adata.obsm["spatial"], geometry=0, radius=27.5, transformations={"global": Identity()})
    back = Affine(np.linalg.inv(matrix), ("x", "y"), ("x", "y"))
    picture = Image2DModel.parse(turned, dims=("y", "x", "c"), transformations={"global": back})
    sdata = SpatialData(images={"scan": picture}, shapes={"spots": circles})

    def check(names):
        by_section = np.linalg.norm(names["adata"].obsm["spatial"] - there, axis=1).mean()
        assert by_section * 3 < 50  # µm
        assert Path("registration.png").is_file()
        assert names["adata"].obsm["patches"].shape == (adata.n_obs, 224, 224, 3)

    return {"adata": adata, "sdata": sdata}, check


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
def questions(toy, **_):
    write_scan(toy, "slide.tif")
    query, ref = toy[toy.obs["library_id"] == "slice3"][::3].copy(), reference(toy)
    return {"bs": bs, "adata_ref": ref, "adata_query": query}, None


@setup
def what_changed(toy, **_):
    ref = toy[toy.obs["library_id"] != "slice3"].copy()

    def check(names):
        assert bs.tl.load_model(ref).description.preset.startswith("FitConfig.v0_1()")

    return {"adata_ref": ref}, check


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

    load = bs.tl.load_reference
    monkeypatch.setattr(bs.tl, "push_reference", lambda *args: None)
    monkeypatch.setattr(bs.datasets, "references", lambda: None)
    monkeypatch.setattr(
        bs.tl, "load_reference", lambda path: load(path.replace("mouse-olfactory-bulb", "liver_reference"))
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name: "liver_reference")
    return {"adata_ref": reference(toy)}, None


@setup
def viewers(toy, **_):
    query = toy[toy.obs["library_id"] == "slice3"].copy()
    ref = reference(toy)
    bs.tl.impute(query, ref=ref)

    def check(names):
        assert Path("slice3.html").stat().st_size > 1e6
        assert Path("slice3.zarr").is_dir()

    return {"adata_query": query, "adata_ref": ref, "image": scan(toy)}, check


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
