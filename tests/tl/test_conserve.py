import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs

pytestmark = pytest.mark.filterwarnings("ignore:Slide 'slice1' is in the query and in the reference:UserWarning")


@pytest.fixture(scope="module")
def _tiles(_fitted):
    ref = _fitted.copy()
    image, mpp = ref.uns["spatial"]["slice1"]["images"]["hires"], ref.uns["patches"]["slice1"]["mpp"]
    kwargs = {"spacing_um": 40, "mpp": mpp, "library_id": "slice1", "show_progress_bar": False}
    tiles = bs.pp.tile_slide(image, ref=ref, **kwargs)
    bs.tl.impute(tiles, ref=ref)
    return tiles


@pytest.fixture
def tiles(_tiles):
    """Tiles of a slide of the reference, finer than its spots, predicted."""
    return _tiles.copy()


def together(tiles, values, how):
    table = pd.DataFrame(values).groupby(tiles.obs["bleep_conserved_spot"].to_numpy(), observed=True)
    return getattr(table, how)()


def test_tiles_are_together_what_spots_measured(tiles, fitted):
    bs.tl.conserve(tiles, fitted)
    rates = np.expm1(tiles.layers["bleep_conserved"].astype(np.float64))
    means = together(tiles, rates, "mean")
    assert len(means) > 100
    measured = np.expm1(fitted[means.index].X.toarray().astype(np.float64))
    np.testing.assert_allclose(means, measured, rtol=1e-4, atol=1e-4)
    distance = fitted[tiles.obs["bleep_conserved_spot"].dropna()].obsm["spatial"]
    own = tiles[tiles.obs["bleep_conserved_spot"].notna()].obsm["spatial"]
    mpp = tiles.uns["tiles"]["slice1"]["mpp"]
    assert np.linalg.norm(own - distance, axis=1).max() * mpp <= 50.01
    assert tiles.uns["bleep_conserved_imputed"]["conserved_from"] == "bleep"
    assert bs.tl.to_anndata(tiles, "bleep_conserved").n_vars == tiles.n_vars


def test_counts_are_shared_out_among_tiles(tiles, fitted):
    bs.tl.conserve(tiles, fitted, truth="counts", interpolate=False)
    sums = together(tiles, tiles.layers["bleep_conserved"].astype(np.float64), "sum")
    np.testing.assert_allclose(sums, fitted[sums.index].layers["counts"].toarray(), rtol=1e-5, atol=1e-6)
    assert tiles.uns["bleep_conserved_imputed"]["transform"] == "counts"


def test_order_of_tiles_and_spots_changes_nothing(tiles, fitted):
    bs.tl.conserve(tiles, fitted)
    rng = np.random.default_rng(0)
    mixed = tiles[rng.permutation(tiles.n_obs)].copy()
    bs.tl.conserve(mixed, fitted[rng.permutation(fitted.n_obs)].copy())
    again = mixed[tiles.obs_names]
    np.testing.assert_allclose(again.layers["bleep_conserved"], tiles.layers["bleep_conserved"], rtol=1e-5, atol=1e-6)
    spots = [each.obs["bleep_conserved_spot"].astype(object).fillna("") for each in (again, tiles)]
    assert spots[0].tolist() == spots[1].tolist()


def test_an_imputation_of_that_name_leaves_nothing_of_it(tiles, fitted):
    bs.tl.conserve(tiles, fitted, key_added="fine")
    bs.tl.impute(tiles, ref=fitted, key_added="fine")
    assert "fine_spot" not in tiles.obs


def test_what_cannot_be_conserved_is_refused(tiles, fitted):
    with pytest.raises(KeyError, match="Slide 'slice1' of adata is not in ref"):
        bs.tl.conserve(tiles, fitted[fitted.obs["library_id"] == "slice2"].copy())
    with pytest.raises(KeyError, match=r"layers\['x'\] not found"):
        bs.tl.conserve(tiles, fitted, truth="x")
    other = fitted.copy()
    other.X = np.log1p(np.expm1(other.X.toarray()) / 2)
    with pytest.raises(ValueError, match=r"ref.X holds logarithms.*Pass truth="):
        bs.tl.conserve(tiles, other)
    away = tiles.copy()
    away.obsm["spatial"] += 1e6
    with pytest.raises(ValueError, match="No tile lies within a spot of ref"):
        bs.tl.conserve(away, fitted)
    spoilt = tiles.copy()
    spoilt.uns["bleep_imputed"]["corrected"] = True
    with pytest.raises(ValueError, match="which have no sum"):
        bs.tl.conserve(spoilt, fitted)
    assert "bleep_conserved" not in tiles.layers
