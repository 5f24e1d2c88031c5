"""Patches, their parts and their neighbours: equal to a slow version, and made again for a query as for the reference."""

import numpy as np
import pytest
import scanpy as sc
import torch
from torch import nn

import bleep_sc as bs
from bleep_sc.models import load_encoder
from bleep_sc.models.encode import encode
from bleep_sc.models.sub_tiles import SubTiled, sub_tiles

KEY = "X_encoder_multi_tile"


class Colours(nn.Module):
    """Mean and spread of the colours: of whatever size a picture is."""

    def forward(self, images):
        return torch.cat([images.mean(dim=(2, 3)), images.amax(dim=(2, 3))], dim=1)


def described(adata, **how):
    how = {"radius_um": 150, "transform": nn.Identity(), "show_progress_bar": False, **how}
    bs.pp.multi_tile_features(adata, Colours(), **how)
    return adata.obsm[KEY]


@pytest.fixture(scope="module")
def tissue():
    adata = bs.datasets.toy(n_slices=2)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=32, size_um=112)
    described(adata)
    return adata


def slow(adata, radius_um, n):
    """Every spot by itself, in float64; parts of 32 px leave out the rim."""
    pixels = adata.obsm["patches"].astype(np.float64) / 255
    describe = lambda image: np.r_[image.mean(axis=(0, 1)), image.max(axis=(0, 1))]  # noqa: E731
    side, first = 32 // n, 32 % n // 2
    corners = [(first + side * i, first + side * j) for i in range(n) for j in range(n)]
    mpp = {name: record["mpp"] for name, record in adata.uns["patches"].items() if isinstance(record, dict)}
    places = adata.obsm["spatial"] * adata.obs["library_id"].map(mpp).to_numpy(dtype=float)[:, None]
    whole = np.array([describe(patch) for patch in pixels])
    for spot in range(0, adata.n_obs, 37):
        parts = np.array([describe(pixels[spot][y : y + side, x : x + side]) for y, x in corners])
        near = (adata.obs["library_id"] == adata.obs["library_id"].iloc[spot]).to_numpy()
        distance = np.linalg.norm(places - places[spot], axis=1)
        weights = np.where(near & (distance <= radius_um), np.exp(-((2 * distance / radius_um) ** 2) / 2), 0)
        around = weights @ whole / weights.sum()
        yield spot, np.r_[whole[spot], parts.mean(axis=0), parts.std(axis=0), around]


def test_blocks_are_those_of_a_slow_version(tissue):
    assert tissue.obsm[KEY].shape == (tissue.n_obs, 4 * 6)
    assert tissue.obsm[KEY].dtype == np.float32
    for spot, expected in slow(tissue, 150, 3):
        np.testing.assert_allclose(tissue.obsm[KEY][spot], expected, atol=1e-5)


def test_parts_by_hand():
    image = torch.arange(49.0).reshape(1, 1, 7, 7)
    parts = sub_tiles(image, 3)[:, 0]
    assert parts.shape == (9, 2, 2)
    assert parts[0].tolist() == [[0, 1], [7, 8]]  # the rim is left out below and to the right
    assert parts[5].tolist() == [[18, 19], [25, 26]]
    both = sub_tiles(torch.stack([image[0], image[0] + 100]), 3)
    assert both[9:].sub(100).equal(both[:9])  # parts of one image stay together


def test_turning_a_patch_changes_nothing_of_means_over_its_parts(tissue):
    patches = tissue.obsm["patches"][:20, :30, :30]
    encoder = SubTiled(load_encoder(Colours(), transform=nn.Identity()), 3)
    turned = np.ascontiguousarray(np.rot90(patches, axes=(1, 2)))
    how = {"show_progress_bar": False}
    np.testing.assert_allclose(encode(encoder, patches, **how), encode(encoder, turned, **how), atol=1e-5)
    one_by_one = encode(encoder, patches, batch_size=1, **how)
    np.testing.assert_allclose(one_by_one, encode(encoder, patches, **how), atol=1e-6)


def test_the_first_block_is_that_of_image_features(tissue):
    bs.pp.image_features(tissue, Colours(), transform=nn.Identity(), key_added="X_alone", show_progress_bar=False)
    np.testing.assert_allclose(tissue.obsm[KEY][:, :6], tissue.obsm["X_alone"], atol=1e-6)
    own = {"sub_tiles": 3, "neighbors_um": 150.0, "library_key": "library_id", "spatial_key": "spatial"}
    assert tissue.uns[KEY] == {**tissue.uns["X_alone"], **own}


def test_a_query_gets_what_the_reference_has_or_is_refused(tissue):
    ref, query = (tissue[tissue.obs["library_id"] == name].copy() for name in ("slice1", "slice2"))
    bs.tl.fit_ridge(ref, use_rep=KEY)
    given = bs.tl.predict(query, ref, key="ridge", copy=True)
    alone = query.copy()
    del alone.obsm[KEY], alone.uns[KEY]
    encoder = load_encoder(Colours(), transform=nn.Identity())
    bs.tl.predict(alone, ref, key="ridge", encoder=encoder)
    np.testing.assert_allclose(alone.layers["ridge"], given.layers["ridge"], atol=1e-4)
    assert "on 3 × 3 parts of each, and on those within 150 µm" in str(bs.tl.load_model(ref, "ridge"))
    for other, said in (({"sub_tiles": 2}, "2 × 2 parts"), ({"radius_um": 250}, "within 250 µm")):
        described(query, **other)
        with pytest.raises(ValueError, match=rf"{said}.*trained on patches, 3 × 3 parts .*pp\.multi_tile_features"):
            bs.tl.predict(query, ref, key="ridge")
    bs.pp.image_features(query, Colours(), transform=nn.Identity(), key_added=KEY, show_progress_bar=False)
    with pytest.raises(ValueError, match="describes the patch of every spot alone, but"):
        bs.tl.predict(query, ref, key="ridge")
    del query.obsm[KEY], query.obsm["patches"], query.uns["patches"]
    with pytest.raises(KeyError, match=r"multi_tile_features\(adata, 'the same module', radius_um=150, sub_tiles=3\)"):
        bs.tl.predict(query, ref, key="ridge")


def test_a_tiled_slide_gets_them_where_it_is_predicted(tissue):
    ref = tissue[tissue.obs["library_id"] == "slice1"].copy()
    bs.pp.multi_tile_features(ref, "stain_stats", radius_um=150, show_progress_bar=False)
    bs.tl.fit_ridge(ref, use_rep="X_stain_stats_multi_tile")
    image = tissue.uns["spatial"]["slice2"]["images"]["hires"]
    mpp = tissue.uns["patches"]["slice2"]["mpp"]
    tiles = bs.pp.tile_slide(image, ref=ref, key="ridge", spacing_um=300, mpp=mpp, show_progress_bar=False)
    bs.tl.predict(tiles, ref, key="ridge")
    expected = bs.tl.predict(tiles, ref, key="ridge", copy=True).layers["ridge"]
    bs.pp.multi_tile_features(tiles, "stain_stats", radius_um=150, show_progress_bar=False)
    bs.tl.predict(tiles, ref, key="ridge")
    np.testing.assert_allclose(tiles.layers["ridge"], expected, atol=1e-5)


def test_what_cannot_work_is_refused(tissue):
    adata = tissue.copy()
    with pytest.raises(ValueError, match="sub_tiles=1 makes no parts"):
        described(adata, sub_tiles=1)
    with pytest.raises(ValueError, match="sub_tiles=5 cuts patches of 32 px into parts of 6 px"):
        described(adata, sub_tiles=5)
    with pytest.raises(ValueError, match="radius_um=0 must be"):
        described(adata, radius_um=0)
    with pytest.raises(KeyError, match=r"obsm\['none'\] not found .*extract_patches"):
        described(adata, patches_key="none")
