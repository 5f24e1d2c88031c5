"""Bins are summed as a slow loop does, onto places that do not depend on which bins are there, to a size by a rule."""

import json
import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import bleep_sc as bs

MPP, BIN_UM = 0.274, 8.0


def bins_of(depth, n=96, n_genes=60, seed=0):
    """Bins of 8 µm of a turned array; genes follow a wave of 200 µm or nothing, ``depth`` counts a bin."""
    random = np.random.default_rng(seed)
    row, column = (axis.ravel() for axis in np.mgrid[0:n, 0:n])
    step, angle = BIN_UM / MPP, 0.02
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    wave = np.sin(column * BIN_UM / 200 * 2 * np.pi)
    level = np.exp(random.normal(0, 0.5, n_genes) + np.where(np.arange(n_genes) < 30, 0.8, 0.0) * wave[:, None])
    counts = random.poisson(depth * level / level.sum(axis=1, keepdims=True))
    obs = pd.DataFrame({"array_row": row, "array_col": column, "in_tissue": 1})
    obs.index = [f"s_008um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)]
    bins = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)
    bins.var_names = [f"g{i}" for i in range(n_genes)]
    bins.obsm["spatial"] = np.column_stack([column, row]) * step @ turn + [300.0, 200.0]
    bins.uns["spatial"] = {"A1": {"images": {}, "scalefactors": {"microns_per_pixel": MPP}, "metadata": {"a": "b"}}}
    return bins


def test_sums_and_places_are_those_of_a_slow_loop():
    bins = bins_of(20)
    squares = bs.pp.sum_bins(bins, bin_um=24)
    counts = bins.X.toarray()
    for i in range(0, squares.n_obs, 97):
        r, c = squares.obs["array_row"].iloc[i], squares.obs["array_col"].iloc[i]
        inside = (bins.obs["array_row"] // 3 == r) & (bins.obs["array_col"] // 3 == c)
        np.testing.assert_array_equal(squares.X[i].toarray().ravel(), counts[inside].sum(axis=0))
        np.testing.assert_allclose(squares.obsm["spatial"][i], bins.obsm["spatial"][inside].mean(axis=0))
    assert squares.X.sum() == bins.X.sum()
    assert squares.obs["n_bins"].eq(9).all()
    factors = squares.uns["spatial"]["A1"]["scalefactors"]
    assert factors["spot_diameter_fullres"] == pytest.approx(24 / MPP)
    assert factors["microns_per_pixel"] == MPP
    assert bins.uns["spatial"]["A1"]["scalefactors"] == {"microns_per_pixel": MPP}


def test_a_square_lies_where_it_is_whichever_bins_are_there():
    bins = bins_of(20)
    whole = bs.pp.sum_bins(bins, bin_um=32)
    some = bins[np.random.default_rng(1).permutation(bins.n_obs)[:7200]].copy()
    some.obs["in_tissue"] = some.obs["array_row"].lt(40).astype(int)
    part = bs.pp.sum_bins(some, bin_um=32, min_tissue=0.25)
    np.testing.assert_allclose(part.obsm["spatial"], whole[part.obs_names].obsm["spatial"], atol=1e-6)
    assert part.obs["array_row"].max() == 9
    assert part.obs["n_bins"].min() >= 4
    assert part.X.sum() <= some[some.obs["in_tissue"] == 1].X.sum()


def test_order_changes_nothing():
    bins = bins_of(20)
    turned = bins[np.random.default_rng(3).permutation(bins.n_obs)].copy()
    one, two = bs.pp.sum_bins(bins, bin_um=16), bs.pp.sum_bins(turned, bin_um=16)
    assert one.obs_names.tolist() == two.obs_names.tolist()
    np.testing.assert_array_equal(one.X.toarray(), two.X.toarray())


def test_deeper_bins_are_summed_less_and_the_rule_is_printed(caplog):
    with caplog.at_level(logging.INFO, logger="bleep_sc"):
        chosen = {depth: bs.pp.sum_bins(bins_of(depth)).uns["bins"] for depth in (900, 60, 25)}
    sides = [float(table.loc[table["chosen"], "bin_um"].iloc[0]) for table in chosen.values()]
    assert sides == sorted(sides)
    assert sides[0] == BIN_UM
    assert sides[-1] > BIN_UM
    for table in chosen.values():
        (row,) = np.flatnonzero(table["chosen"])
        assert (table["noise_ceiling"].iloc[:row] < 0.5).all()
        assert table["noise_ceiling"].iloc[row] >= 0.5
    assert "A1: bins of 8 µm are summed to" in caplog.text
    assert "noise_ceiling" in caplog.text


def test_noise_is_not_taken_for_signal(caplog):
    bins = bins_of(20)
    bins.X = sparse.csr_matrix(np.random.default_rng(0).poisson(0.3, bins.shape).astype(np.float32))
    with caplog.at_level(logging.INFO, logger="bleep_sc"):
        table = bs.pp.sum_bins(bins).uns["bins"]
    assert table["chosen"].iloc[-1]
    assert "little can be learnt from this slide" in caplog.text


def test_the_side_of_bins_is_known_by_names_factors_or_px():
    bins = bins_of(20)
    del bins.uns["spatial"]
    by_names = bs.pp.sum_bins(bins, bin_um=16)
    bins.obs_names = [str(i) for i in range(bins.n_obs)]
    with pytest.raises(ValueError, match=r"side of the bins .* is not known .* Pass mpp="):
        bs.pp.sum_bins(bins, bin_um=16)
    by_px = bs.pp.sum_bins(bins, bin_um=16, mpp=MPP)
    for squares in (by_names, by_px):
        (library,) = squares.uns["spatial"].values()
        assert library["scalefactors"]["microns_per_pixel"] == pytest.approx(MPP, rel=1e-6)
    np.testing.assert_array_equal(by_names.X.toarray(), by_px.X.toarray())


def test_what_does_not_fit_is_refused():
    bins = bins_of(20)
    with pytest.raises(ValueError, match=r"bin_um=20 must be a multiple of the side of the bins, 8 µm"):
        bs.pp.sum_bins(bins, bin_um=20)
    sc.pp.normalize_total(bins)
    with pytest.raises(ValueError, match="holds no raw counts"):
        bs.pp.sum_bins(bins)


@pytest.mark.parametrize("side", [8, 16])
def test_bins_of_space_ranger(data_folder, side):
    folder = data_folder / "spaceranger/seurat_visium_hd/visium_hd/binned_outputs" / f"square_{side:03d}um"
    bins = sc.read_10x_h5(folder / "filtered_feature_bc_matrix.h5")
    bins.var_names_make_unique()
    places = pd.read_parquet(folder / "spatial" / "tissue_positions.parquet").set_index("barcode")
    bins = bins[bins.obs_names.isin(places.index)].copy()
    places = places.loc[bins.obs_names]
    bins.obs = places[["in_tissue", "array_row", "array_col"]].copy()
    bins.obsm["spatial"] = places[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    factors = json.loads((folder / "spatial" / "scalefactors_json.json").read_text())
    bins.uns["spatial"] = {"slide": {"scalefactors": factors}}
    squares = bs.pp.sum_bins(bins, bin_um=48, min_tissue=0.0)
    assert squares.X.sum() == bins[bins.obs["in_tissue"] == 1].X.sum()
    (library,) = squares.uns["spatial"].values()
    assert library["scalefactors"]["microns_per_pixel"] == pytest.approx(0.27376, rel=1e-3)
