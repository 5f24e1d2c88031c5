"""Every message that the page of symptoms quotes is raised by doing what a newcomer does wrong."""

import re
import urllib.error
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pooch
import pytest
import torch
from scipy import sparse

import bleep_sc as bs
from bleep_sc.slides import _picture

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
QUOTED = [block.strip() for block in re.findall(r"```none\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)]
SMALL = {"size": 16, "size_um": 112}
CONFIG = bs.tl.FitConfig(max_epochs=1, views=("scaled",))
MISTAKES = {}


def mistake(function):
    """Register what provokes a message; the function is named after it."""
    MISTAKES[function.__name__] = function
    return function


def one(adata, name="slice1"):
    """One slide, with its own entry in uns["spatial"]."""
    part = adata[adata.obs["library_id"] == name].copy()
    part.uns["spatial"] = {name: part.uns["spatial"][name]}
    return part


def scan(adata):
    (library,) = adata.uns["spatial"].values()
    return library["images"]["hires"]


def fit(adata):
    bs.tl.fit(adata, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)


@mistake
def no_full_resolution_image(toy, **_):
    part = one(toy)
    part.uns["spatial"]["slice1"]["scalefactors"]["tissue_hires_scalef"] = 0.5
    bs.pp.extract_patches(part, **SMALL)


@mistake
def slides_without_names(toy, **_):
    stacked = ad.concat([one(toy), one(toy, "slice2")])
    del stacked.obs["library_id"]
    bs.pp.extract_patches(stacked, scan(one(toy)), **SMALL)


@mistake
def the_small_image(toy, **_):
    part = one(toy)
    part.uns["spatial"]["slice1"]["scalefactors"] = {"tissue_hires_scalef": 0.5}
    bs.pp.extract_patches(part, np.ascontiguousarray(scan(part)[::2, ::2]), **SMALL)


@mistake
def an_overview(toy, **_):
    part = one(toy)
    part.obsm["spatial"] = part.obsm["spatial"] / 6
    bs.pp.extract_patches(part, np.ascontiguousarray(scan(part)[::6, ::6]), mpp=6.0, size=224, size_um=112)


@mistake
def mirrored_coordinates(toy, **_):
    part = one(toy)
    part.obsm["spatial"][:, 0] = scan(part).shape[1] - 1 - part.obsm["spatial"][:, 0]
    bs.pp.extract_patches(part, **SMALL)


@mistake
def spots_without_a_lattice(toy, **_):
    part = one(toy)
    part.obs = part.obs[["library_id"]]
    part.uns["spatial"]["slice1"]["scalefactors"].pop("microns_per_pixel", None)
    bs.pp.extract_patches(part, **SMALL)


@mistake
def a_scan_without_resolution(toy, **_):
    bs.pp.tile_slide(scan(one(toy)), size=16)


@mistake
def a_file_of_another_resolution(space_ranger, toy, **_):
    import tifffile

    part = one(toy)
    path = space_ranger / "again.tif"
    tifffile.imwrite(path, scan(part), resolution=(5000, 5000), resolutionunit="CENTIMETER", photometric="rgb")
    bs.pp.extract_patches(part, path, **SMALL)


@mistake
def one_image_of_several_slides(toy, **_):
    bs.pp.extract_patches(toy, scan(one(toy)), **SMALL)


@mistake
def sixteen_bits(toy, **_):
    bs.pp.tile_slide(scan(one(toy)).astype(np.uint16), mpp=2.0, size=16)


@mistake
def no_patches(toy, **_):
    del toy.obsm["patches"], toy.uns["patches"]
    bs.pp.image_features(toy, "stain_stats")


@mistake
def counts(toy, **_):
    toy.X = toy.layers["counts"]
    fit(toy)


@mistake
def scaled_values(toy, **_):
    toy.X = toy.X.toarray() - 1
    fit(toy)


@mistake
def logarithms_of_counts(toy, **_):
    toy.X = toy.layers["counts"].log1p()
    fit(toy)


@mistake
def uneven_slides(toy, **_):
    toy.X = sparse.diags(np.where(toy.obs["library_id"] == "slice1", 0.5, 1.0)).tocsr() @ toy.X
    fit(toy)


@mistake
def empty_spots(toy, **_):
    toy.X = sparse.diags(np.where(np.arange(toy.n_obs) < 3, 0.0, 1.0)).tocsr() @ toy.X
    fit(toy)


@mistake
def a_score_of_counts(query, fitted, **_):
    bs.tl.impute(query, ref=fitted)
    query.X = query.layers["counts"]
    bs.tl.score(query)


@mistake
def cross_validation_of_logarithms(toy, **_):
    bs.bm.cross_validate(toy, bs.bm.methods(["mean"]), group_key="library_id")


@mistake
def a_concatenated_reference(query, fitted, **_):
    both = ad.concat([one(fitted, "slice1"), one(fitted, "slice2")])
    bs.tl.impute(query, ref=both)


@mistake
def another_order_of_spots(query, fitted, **_):
    fitted.X = fitted.X[::-1]
    del fitted.obsm["X_stain_stats"]
    bs.tl.impute(query, ref=fitted)


@mistake
def a_file_that_lost_a_bit(query, fitted, **_):
    fitted.X.data[7] += 1e-3
    bs.tl.impute(query, ref=fitted)


@mistake
def a_damaged_model(query, fitted, **_):
    fitted.uns["bleep"]["model"][-1] ^= 1
    bs.tl.impute(query, ref=fitted)


@mistake
def slides_in_different_units(toy, **_):
    rows = (toy.obs["library_id"] == "slice2").to_numpy()
    toy.X = toy.X.toarray()
    toy.X[rows] /= np.log(2)
    fit(toy)


@mistake
def other_gene_names(query, fitted, **_):
    query.var_names = [f"ENSG{i:011d}" for i in range(query.n_vars)]
    bs.tl.impute(query, ref=fitted)


@mistake
def another_encoder(query, fitted, **_):
    query.uns["X_stain_stats"]["fingerprint"] = "other"
    bs.tl.impute(query, ref=fitted)


@mistake
def patches_of_another_size(query, fitted, **_):
    del query.obsm["X_stain_stats"], query.uns["X_stain_stats"]
    bs.pp.extract_patches(query, size=56, size_um=200)
    bs.tl.impute(query, ref=fitted)


@mistake
def intervals_from_one_slide(query, fitted, **_):
    part = one(fitted)
    fit(part)
    bs.tl.impute(query, ref=part, interval=0.9)


@mistake
def confidence_without_places(query, fitted, **_):
    part = one(fitted)
    del part.obsm["spatial"]
    fit(part)
    bs.tl.impute(query, ref=part)
    bs.pl.confidence(query)


@mistake
def a_tiny_reference(query, fitted, **_):
    bs.tl.impute(query, ref=fitted[:30].copy())


@mistake
def the_query_in_the_reference(fitted, **_):
    bs.tl.impute(one(fitted), ref=fitted)


@mistake
def a_foreign_slide(query, fitted, **_):
    query.obsm["X_stain_stats"] = 3 * query.obsm["X_stain_stats"] + 2
    bs.tl.impute(query, ref=fitted)


@mistake
def a_gene_that_was_not_asked_for(query, fitted, **_):
    bs.tl.impute(query, ref=fitted, genes=["HAL"])
    bs.pl.spatial(query, "CYP3A4", layer="bleep")


@mistake
def a_subset_of_the_reference(query, fitted, **_):
    bs.tl.impute(query, ref=fitted)
    bs.pl.retrieval(query, fitted[:100].copy(), 0)


@mistake
def an_image_larger_than_memory(toy, monkeypatch, tmp_path, **_):
    from PIL import Image

    monkeypatch.setattr("os.sysconf", lambda name: 64)  # bytes a page, and pages
    monkeypatch.setattr(_picture, "LARGE", 0)
    monkeypatch.setattr(_picture, "has_vips", lambda: False)
    Image.fromarray(scan(one(toy))).save(tmp_path / "scan.jpg")
    bs.pp.extract_patches(one(toy), tmp_path / "scan.jpg", **SMALL)


@mistake
def harmony_of_many_genes(toy, monkeypatch, **_):
    monkeypatch.setattr("os.sysconf", lambda name: 64)
    bs.pp.batch_correct(toy, batch_key="library_id")


@mistake
def a_gpu_that_is_not_there(toy, monkeypatch, **_):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bs.tl.fit(toy, use_rep="X_stain_stats", devices="cuda")


@mistake
def weights_without_a_network(toy, monkeypatch, tmp_path, **_):
    def fails(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    bs.pp.image_features(toy, "resnet50")


@mistake
def a_slide_of_two_donors(toy, **_):
    part = one(toy)
    part.obs["patient"] = np.resize(["A", "B"], part.n_obs)
    fit(part)


@mistake
def a_name_of_no_encoder(toy, **_):
    bs.pp.image_features(toy, "pathnet")


@mistake
def weights_without_access(**_):
    bs.models.load_encoder("uni2")


@mistake
def spots_between_the_patches_of_a_file(query, tmp_path, **_):
    with h5py.File(tmp_path / "grid.h5", "w") as file:
        file["coords"], file["features"] = [[0, 0], [512, 0]], [[1.0], [2.0]]
        file["coords"].attrs.update({"patch_size": 256, "patch_size_level0": 512})
    bs.pp.read_features(query, tmp_path / "grid.h5", "uni2")


@mistake
def tissue_without_a_network(monkeypatch, **_):
    def fails(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.delenv("BLEEP_SC_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", fails)
    bs.datasets.her2st("C2")


def pattern(quoted):
    """The quoted message, in which ... stands for anything."""
    return ".*".join(map(re.escape, quoted.split("...")))


def messages(function, **fixtures):
    """What the mistake raises and warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function(**fixtures)
        except (KeyError, ValueError, OSError, MemoryError) as error:
            said = [error.args[-1] if isinstance(error, KeyError) else str(error)]
        else:
            said = []
    return said + [str(each.message) for each in caught]


@pytest.mark.parametrize("name", MISTAKES)
def test_the_page_quotes_what_is_raised(name, toy, query, fitted, space_ranger, monkeypatch, tmp_path):
    fixtures = {"toy": toy, "query": query, "fitted": fitted, "space_ranger": space_ranger}
    said = messages(MISTAKES[name], monkeypatch=monkeypatch, tmp_path=tmp_path, **fixtures)
    found = [quoted for quoted in QUOTED for each in said if re.match(pattern(quoted), each, flags=re.DOTALL)]
    assert len(found) == 1, said


def test_every_quoted_message_has_its_mistake():
    assert len(QUOTED) == len(set(QUOTED)) == len(MISTAKES)
