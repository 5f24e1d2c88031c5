"""What is written has a line: keys in the table of docs/design.md, columns of a comparison where it is described.

Keys also survive h5ad and zarr.
"""

import re
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import zarr
from anndata.tests.helpers import assert_equal

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc.bm._summary import CORRELATIONS

DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
SLOTS = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")


def documented() -> set[tuple[str, str]]:
    """Rows ``| slot | `key`, `key` | ...`` of the table headed "Keys"."""
    table = DESIGN.read_text().split("## Keys")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("|")][2:]
    return {(slot.strip(), key) for slot, keys in rows for key in re.findall(r"`([^`]+)`", keys)}


def present(adata: ad.AnnData) -> set[tuple[str, str]]:
    """Anndata 0.13 keeps X among the layers, as None."""
    return {(slot, key) for slot in SLOTS for key in getattr(adata, slot) if key is not None}


def prediction(name: str) -> set[tuple[str, str]]:
    """The keys of all that a prediction may consist of."""
    return {(slot, of_name(name)) for slot, functions in keys.PREDICTION.items() for of_name in functions}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """The keys before everything that the package does and those that tl.impute adds, and what came out."""
    import scanpy as sc

    adata = bs.datasets.toy(n_slices=3)
    before = present(adata)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=24, size_um=112)
    bs.pp.normalize_stains(adata)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.pp.spatial_context(adata, "X_stain_stats", radius_um=300)
    ref, query = (
        adata[mask].copy() for mask in (adata.obs["library_id"] != "slice3", adata.obs["library_id"] == "slice3")
    )
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    bs.pp.batch_correct(ref, batch_key="library_id")
    config = bs.tl.FitConfig(max_epochs=2)
    bs.tl.fit(ref, use_rep="X_stain_stats", target_rep="X_harmony", config=config, show_progress_bar=False)
    bs.tl.fit_ridge(ref, use_rep="X_stain_stats")
    stnet = bs.tl.StNetConfig(learning_rates=(1e-3,), max_epochs=2)
    bs.tl.fit_stnet(ref, use_rep="X_stain_stats", config=stnet, show_progress_bar=False)
    histogene = bs.tl.HisToGeneConfig(n_dims=16, max_epochs=2)
    bs.tl.fit_histogene(ref, config=histogene, show_progress_bar=False)
    hist2st = bs.tl.Hist2STConfig(n_channels=8, n_heads=1, max_epochs=1, zinb_weight=0)
    bs.tl.fit_hist2st(ref, config=hist2st, show_progress_bar=False)
    for fit, kind in ((bs.tl.fit_he2rna, bs.tl.HE2RNAConfig), (bs.tl.fit_hist2rna, bs.tl.Hist2RNAConfig)):
        fit(ref, use_rep="X_stain_stats", config=kind(n_hidden=8, max_epochs=2), show_progress_bar=False)
    features = present(query)
    bs.tl.impute(query, ref=ref, target_rep="X_harmony", interval=0.9)
    imputed = present(query) - features
    one, two = (ref[ref.obs["library_id"] == name].copy() for name in ("slice1", "slice2"))
    bs.tl.fit(one, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    del two.uns["bleep"]  # of both slices
    bs.tl.impute(two, ref=one)
    bs.tl.embed(two, one, expression=True, layer="bleep")
    grown = bs.tl.impute(query, ref=[one, two], copy=True)
    for key in ("ridge", "stnet", "histogene", "hist2st", "he2rna", "hist2rna"):
        bs.tl.predict(query, ref=ref, key=key)
    bs.tl.score(query, ["bleep", "ridge"])
    bs.tl.leiden(query, resolutions=[1.0])
    bs.tl.gene_correlation(query)
    bs.tl.joint_umap(query, ref)
    for layer in ("bleep", None):
        bs.tl.score_gene_sets(
            query, {"zonation": ["CYP3A4", "CYP2E1", "FABP1", "HAL", "ALB"]}, layer=layer, min_genes=2
        )
    bs.pp.multi_tile_features(query, "stain_stats", radius_um=150, show_progress_bar=False)
    plain = bs.tl.impute(query, ref=ref, copy=True)
    for side in (ref, plain):
        side.layers["theirs"] = np.random.default_rng(0).normal(size=side.shape).astype(np.float32)
        bs.pp.prediction_features(side, "theirs", "theirs")
    bs.tl.predict(plain, ref, key="ridge")
    bs.tl.correct_prediction(plain, ref, "theirs", by="ridge")
    del ref.layers["theirs"], plain.layers["theirs"]
    bs.tl.restore_variance(plain, ref)
    sections, placed = ref.copy(), query.copy()
    bs.tl.fit(sections, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.impute(placed, ref=sections)
    bs.tl.blend_place(placed, sections, interval=0.9)
    bulk = bs.tl.pseudobulk(plain, sample_key="library_id", min_predictability=None, n_draws=1, ref=ref)
    image = query.uns["spatial"]["slice3"]["images"]["hires"]
    whole = {"type": "Polygon", "coordinates": [[[0, 0], [5000, 0], [5000, 5000], [0, 5000], [0, 0]]]}
    tiles = bs.pp.tile_slide(image, mpp=2.0, size=24, spacing_um=300, region=whole, show_progress_bar=False)
    bs.pp.extract_patches(tiles, image, size=24, store=tmp_path_factory.mktemp("store") / "patches.zarr")
    file = tmp_path_factory.mktemp("folder") / "slide.h5ad"
    bs.datasets.toy(n_slices=1)[::8].copy().write_h5ad(file)
    prepared = bs.io.prepare(file, donor={"slice1": "P1"}, n_top_genes=40, encoder="stain_stats")
    spots = bs.pp.gather_cells(bs.datasets.toy(n_slices=1), mpp=1.0, spot_um=110)
    squares = bs.pp.sum_bins(spots, bin_um=220)
    path = tmp_path_factory.mktemp("features") / "slide.h5"
    with h5py.File(path, "w") as file:
        file["coords"], file["features"] = tiles.obsm["spatial"] - 28, np.ones((tiles.n_obs, 1024))
    bs.pp.read_features(tiles, path, "uni", side_px=56)
    moved = bs.datasets.toy(n_slices=1)
    bs.pp.register(moved, moved.uns["spatial"]["slice1"]["images"]["hires"], transform=[[1, 0, 0], [0, 1, 0]])
    made = (spots, squares, prepared, moved, placed)
    cell = {"type": "Polygon", "coordinates": [[[300, 300], [330, 300], [330, 330], [300, 300]]]}
    cell = {"type": "Feature", "id": "a", "geometry": cell, "properties": {"classification": {"name": "Tumor"}}}
    cells = bs.pp.tile_slide(image, mpp=2.0, size=24, cells=cell, library_id="slice3", show_progress_bar=False)
    for key in ("cell_id", "cell_class"):
        tiles.obs[key] = cells.obs[key].iloc[0]
    tiles.uns["cells"] = cells.uns["cells"]
    bs.tl.conserve(plain, query)
    return before, imputed, ref, query, bs.tl.to_anndata(query), grown, plain, bulk, tiles, *made


def test_every_key_is_documented_and_every_documented_key_appears(pipeline):
    before, _, *results = pipeline
    written = set.union(*map(present, results)) - before - {("uns", "log1p")}
    table = documented()
    assert written - table == set()
    assert table - written - before == set()


def test_all_that_a_prediction_may_consist_of_is_documented():
    of_others = {("obs", keys.spot("bleep")), ("var", keys.slope("bleep")), ("var", keys.share("bleep"))}
    assert prediction("bleep") - of_others - documented() == set()  # which are called otherwise:
    others = {("var", keys.slope("theirs_corrected")), ("var", keys.share("bleep_place"))}
    assert others | {("obs", keys.spot("bleep_conserved"))} <= documented()


def test_what_impute_writes_is_listed_so_that_the_next_prediction_replaces_it(pipeline):
    _, imputed, *_ = pipeline
    assert imputed - prediction("bleep") == {("obsm", "X_bleep_image")}  # which is the model's, not the prediction's


def test_columns_of_a_comparison_are_described_and_undefined_ones_are_known(toy):
    """The mean varies nowhere: what is then undefined is a correlation, and counts as zero in a summary."""
    toy.X = toy.layers["counts"]
    table = bs.bm.cross_validate(toy[:, :40].copy(), bs.bm.methods(["mean"]), group_key="library_id")
    described = bs.bm.cross_validate.__doc__.split("Returns\n")[1].split("Raises\n")[0]
    assert set(table) - set(re.findall(r"``(\w+)``", described)) == set()
    undefined = set(table.columns[table.isna().all()])
    assert "pearson" in undefined
    assert undefined - {"donor", "same_donor"} <= set(CORRELATIONS)


def test_results_survive_h5ad_and_zarr(pipeline, tmp_path):
    seen: set[tuple[str, str]] = set()
    for i, whole in enumerate(pipeline[2:]):
        adata = whole[::8].copy()
        for slot, key in present(adata) & seen - {("uns", "patches"), ("uns", "X_stain_stats")}:
            del getattr(adata, slot)[key]
        seen |= present(adata)
        adata.write_h5ad(tmp_path / f"{i}.h5ad")
        adata.write_zarr(store := zarr.storage.MemoryStore())
        for again in (ad.read_h5ad(tmp_path / f"{i}.h5ad"), ad.read_zarr(store)):
            assert present(again) == present(adata)
            for key in adata.obsm:
                assert_equal(again.obsm[key], adata.obsm[key])
            for key in adata.layers:
                assert_equal(again.layers[key], adata.layers[key])
    assert seen == set.union(*map(present, pipeline[2:]))
