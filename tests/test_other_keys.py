"""The whole main job where slides and places have other names than usual: told once, and read back from then on."""

import json

import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc._adata.patches import patches_of
from bleep_sc._adata.records import patch_recipe

NAMES = {"library_key": "sample", "spatial_key": "X_spatial"}
CONFIG = bs.tl.FitConfig(max_epochs=5)


def job(adata, library_key, told, tmp_path):
    """Do everything, naming the column and the key in the first call alone; return what came out."""
    import scanpy as sc

    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=32, size_um=112, **told)
    bs.pp.normalize_stains(adata)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.pp.spatial_context(adata, "X_stain_stats", radius_um=300)
    names = adata.obs[library_key].astype(str)
    ref, query = adata[names.isin(["slice1", "slice2"])].copy(), adata[names.isin(["slice3", "slice4"])].copy()
    bs.pp.select_genes(ref, batch_key=library_key, n_top_genes=30)
    bs.tl.fit(ref, use_rep=["X_stain_stats", "X_stain_stats_context"], config=CONFIG, show_progress_bar=False)
    bs.tl.fit_ridge(ref, use_rep="X_stain_stats_context")
    histogene = bs.tl.HisToGeneConfig(n_dims=16, max_epochs=2)
    bs.tl.fit_histogene(ref, config=histogene, show_progress_bar=False)
    for key in ("X_stain_stats", "X_stain_stats_context"):  # made again from the patches, as the model says
        del query.obsm[key], query.uns[key]
    bs.tl.impute(query, ref=ref, interval=0.9)
    bs.tl.predict(query, ref=ref, key="ridge")
    bs.tl.predict(query, ref=ref, key="histogene")
    bs.tl.score(query, gene_sets=ref)
    bs.tl.restore_variance(query, ref)
    bs.tl.joint_umap(query, ref)
    bs.tl.to_geojson(query, tmp_path / "slice3.geojson", genes="CYP3A4", library_id="slice3")
    some = query[::7].copy()
    bs.tl.embed(some, ref, expression=True)
    with pytest.warns(UserWarning, match=rf"Slide .* is in the query and in the reference \(obs\['{library_key}'\]\)"):
        bs.tl.impute(query, ref=[ref, some], key_added="grown")
    return ref, query


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    usual = bs.datasets.toy(n_slices=4)
    other = usual.copy()
    other.obs["sample"] = other.obs.pop("library_id")
    other.obsm["X_spatial"] = other.obsm.pop("spatial")
    folders = [tmp_path_factory.mktemp(name) for name in ("usual", "other")]
    return folders, job(usual, "library_id", {}, folders[0]), job(other, "sample", NAMES, folders[1])


def test_predictions_and_all_that_is_said_of_them_are_the_same(jobs):
    _, (_, usual), (_, other) = jobs
    for name in ("bleep", "bleep_lower", "ridge", "histogene", "bleep_restored", "grown"):
        np.testing.assert_array_equal(other.layers[name], usual.layers[name])
    for name in ("bleep_confidence", "bleep_typicality", "grown_typicality"):
        np.testing.assert_array_equal(other.obs[name], usual.obs[name])
    assert other.uns["bleep_score"].equals(usual.uns["bleep_score"])
    assert other.uns["bleep_imputed"]["shares"] == usual.uns["bleep_imputed"]["shares"]
    np.testing.assert_array_equal(other.obsm["X_bleep_umap"], usual.obsm["X_bleep_umap"])


def test_slides_and_files_are_the_same(jobs):
    folders, (usual, _), (other, _) = jobs
    first, second = (json.loads((folder / "slice3.geojson").read_text())["features"] for folder in folders)
    assert [each["geometry"] for each in first] == [each["geometry"] for each in second]
    assert bs.tl.load_model(other).description.slides == bs.tl.load_model(usual).description.slides


def test_plots_need_not_be_told_again(jobs):
    import matplotlib.pyplot as plt

    _, (ref, query), (other_ref, other) = jobs
    for draw in (
        lambda ref, query: bs.pl.spatial(query, "CYP3A4", layer=[None, "bleep"]),
        lambda ref, query: bs.pl.confidence(query),
        lambda ref, query: bs.pl.patches(query, library_id="slice4"),
        lambda ref, query: bs.pl.retrieval(query, ref, 3),
    ):
        usual, same = (np.ravel(draw(*each)) for each in ((ref, query), (other_ref, other)))
        assert [axis.get_title() for axis in same] == [axis.get_title() for axis in usual]
        for one, two in zip(usual, same, strict=True):
            assert (one.get_xlim(), one.get_ylim()) == (two.get_xlim(), two.get_ylim())
            assert len(one.artists) == len(two.artists)  # the bar, in µm
        plt.close("all")


def test_a_shared_reference_reads_its_queries_alike(jobs, tmp_path):
    _, _, (ref, query) = jobs
    bs.tl.share_reference(ref, tmp_path / "shared")
    shared = bs.tl.load_reference(tmp_path / "shared")
    bs.tl.impute(query, ref=shared, key_added="shared")
    np.testing.assert_array_equal(query.layers["shared"], query.layers["bleep"])
    np.testing.assert_array_equal(query.obs["shared_typicality"], query.obs["bleep_typicality"])


def test_spatialdata_is_made_of_the_same_slides(jobs):
    _, _, (_, other) = jobs
    sdata = bs.tl.to_spatialdata(other)
    assert set(sdata.shapes) == {"slice3", "slice4"}
    assert sdata.tables["table"].uns["spatialdata_attrs"]["region_key"] == "sample"


def test_a_resolution_that_was_given_is_read_back():
    """A slide whose scale factors are wrong, and whose true scale was given once, has the surroundings of the true one."""
    true = bs.datasets.toy(n_slices=1)
    wrong = true.copy()
    wrong.uns["spatial"]["slice1"]["scalefactors"]["microns_per_pixel"] = 0.1
    bs.pp.extract_patches(true, size=32, size_um=112)
    bs.pp.extract_patches(wrong, size=32, size_um=112, mpp=true.uns["patches"]["slice1"]["mpp"])
    for adata in (true, wrong):
        bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
        bs.pp.spatial_context(adata, "X_stain_stats", radius_um=300)
    np.testing.assert_allclose(wrong.obsm["X_stain_stats_context"], true.obsm["X_stain_stats_context"], rtol=1e-5)


def test_a_column_that_is_named_must_be_there(jobs):
    _, (_, query), _ = jobs
    with pytest.raises(KeyError, match=r"obs\['donor'\] not found.*Pass library_key="):
        bs.pl.spatial(query, "CYP3A4", library_key="donor")
    nameless = query.copy()
    del nameless.obs["library_id"]
    with pytest.raises(KeyError, match=r"obs\['library_id'\] not found"):  # uns["spatial"] knows four slides
        bs.tl.score(nameless)


def test_context_is_made_again_on_its_own_slides():
    """Surroundings of sections, read by a model whose slides are patients."""
    import scanpy as sc

    adata = bs.datasets.toy(n_slices=4)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    patients = {"slice1": "P1", "slice2": "P2", "slice3": "P3", "slice4": "P3"}
    adata.obs["patient"] = adata.obs["library_id"].astype(str).map(patients)
    bs.pp.extract_patches(adata, size=32, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.pp.spatial_context(adata, "X_stain_stats", radius_um=300)
    is_query = adata.obs["patient"] == "P3"
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    bs.tl.fit(ref, use_rep="X_stain_stats_context", library_key="patient", config=CONFIG, show_progress_bar=False)
    given = bs.tl.impute(query, ref=ref, copy=True)
    del query.obsm["X_stain_stats_context"], query.uns["X_stain_stats_context"]
    bs.tl.impute(query, ref=ref)
    np.testing.assert_allclose(query.layers["bleep"], given.layers["bleep"], atol=1e-5)
    bs.tl.score(query)  # nobody said that slides are patients here
    assert set(query.uns["bleep_score"]["library"]) == {"slice3", "slice4", "mean"}


def test_patches_of_two_cuts_are_each_their_own(tmp_path):
    adata = bs.datasets.toy(n_slices=2)
    adata.obs["other"] = adata.obs["library_id"].cat.rename_categories(lambda name: name.upper())
    adata.obsm["moved"] = adata.obsm["spatial"] + 20
    adata.uns["spatial"] |= {name.upper(): record for name, record in adata.uns["spatial"].items()}
    cuts = {"a_moved": ("other", "moved"), "patches": ("library_id", "spatial")}
    for key, (library_key, spatial_key) in cuts.items():
        named = {"library_key": library_key, "spatial_key": spatial_key}
        bs.pp.extract_patches(adata, size=16, size_um=112, key_added=key, store=tmp_path / key, **named)
    for key in cuts:
        expected = np.asarray(adata.obsm[key])
        np.testing.assert_array_equal(patches_of(adata, key)[:], expected)
        assert patch_recipe(adata, key)["size_um"] == pytest.approx(112, rel=0.05)


def test_comparisons_know_slides_and_places_by_any_name():
    tables = []
    for told in ({}, NAMES):
        adata = bs.datasets.toy(n_slices=3)
        if told:
            adata.obs["sample"] = adata.obs.pop("library_id")
            adata.obsm["X_spatial"] = adata.obsm.pop("spatial")
        bs.pp.extract_patches(adata, size=32, size_um=112, **told)
        bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
        methods = bs.bm.methods(["location", "ridge"], use_rep="X_stain_stats")
        folds = {"group_key": told.get("library_key", "library_id"), "use_rep": "X_stain_stats", "n_top_genes": 20}
        table = bs.bm.cross_validate(adata, methods, **folds)
        tables.append(table.drop(columns="seconds"))
    assert tables[0].equals(tables[1])
