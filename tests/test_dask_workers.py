"""Arrays on disk under dask.distributed: workers compute them, no bit differs, and nothing passes through the client."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from anndata import AnnData
from scipy import sparse

import bleep_sc as bs
from bleep_sc.pp import _cut, _normalize_stains
from bleep_sc.tl._predictions import layers, record
from bleep_sc.training import features

distributed = pytest.importorskip("distributed", reason="dask's workers need the package distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # what dask, distributed and zarr say of each other

SIZE = 8


class Means(torch.nn.Module):
    """The mean colours of four parts of a patch."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)  # (B, 12)


@pytest.fixture(scope="module")
def client():
    """Two workers, which are processes of their own."""
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        yield client


def with_patches(adata, library, patches):
    adata.obsm["patches"] = patches
    known = {"size": SIZE, "side_px": SIZE, "size_um": 112.0, "mpp": 14.0, "mpp_source": "given", "pad": "reflect"}
    adata.uns["patches"] = {library: {**known, "image": "in memory", "store": "", "library_key": "library_id"}}


@pytest.fixture(scope="module", params=[4_000, pytest.param(100_000, marks=pytest.mark.slow)])
def tiles(request, _toy, tmp_path_factory):
    """Many tiles of a slide, their features and their predicted expression on disk, made without workers."""
    folder, n, random = tmp_path_factory.mktemp("tiles"), request.param, np.random.default_rng(0)
    ref = _toy[_toy.obs["library_id"] == "slice1", :60].copy()
    with_patches(ref, "slice1", np.ascontiguousarray(ref.obsm["patches"][:, ::7, ::7]))
    query = AnnData(sparse.csr_matrix((n, 60), dtype=np.float32), obs=pd.DataFrame(index=np.arange(n).astype(str)))
    query.var_names, query.obs["library_id"] = ref.var_names, "tiles"
    query.obsm["spatial"] = np.column_stack(np.divmod(np.arange(n), 400))[:, ::-1] * float(SIZE)
    with_patches(query, "tiles", random.integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8))
    encoder = bs.models.load_encoder(Means(), transform=torch.nn.Identity())
    how = {"encoder": encoder, "key_added": "X_means", "show_progress_bar": False}
    config = bs.tl.FitConfig(max_epochs=2, views=("scaled",), smoothing_um=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "BLOCK", n // 8)
        patch.setattr(record, "SPOTS", n // 8)
        patch.setattr(layers, "SPOTS", n // 8)
        patch.setattr(record, "GENES", 25)
        bs.pp.image_features(ref, **how)
        bs.tl.fit(ref, use_rep="X_means", config=config, show_progress_bar=False)
        bs.pp.image_features(query, **how, store=folder / "features.zarr")
        bs.tl.impute(query, ref=ref, store=folder / "predicted.zarr")
    query.uns["reference"] = ref
    return query


def unread_here(patch):
    """Whatever this process reads from a store is an error: workers are others."""

    def read(*args, **kwargs):
        raise AssertionError("the client reads blocks")

    patch.setattr(zarr.Array, "__getitem__", read)


def test_workers_hold_the_features_and_the_layer_and_the_client_does_not(tiles, client, monkeypatch):
    arrays = [tiles.obsm["X_means"], tiles.layers["bleep"]]
    local = [array.compute(scheduler="synchronous") for array in arrays]
    assert [array.shape for array in local] == [(tiles.n_obs, 12), (tiles.n_obs, 60)]
    sums = [(array * 2).sum(axis=0).compute(scheduler="synchronous") for array in arrays]
    unread_here(monkeypatch)
    workers = list(client.scheduler_info()["workers"])
    for array, each, total, worker in zip(arrays, local, sums, workers, strict=True):  # each on a worker of its own
        held = client.persist(array, workers=worker)
        distributed.wait(held)
        holders = client.who_has(held)
        assert len(holders) == array.npartitions > 1
        assert {address for addresses in holders.values() for address in addresses} == {worker}
        np.testing.assert_array_equal((held * 2).sum(axis=0).compute(), total)
        np.testing.assert_array_equal(held.compute(), each)


def test_workers_write_what_they_compute(tiles, client, tmp_path):
    layer = tiles.layers["bleep"]
    local = da.expm1(layer).compute(scheduler="synchronous")
    with pytest.MonkeyPatch.context() as patch:
        unread_here(patch)
        da.expm1(layer).to_zarr(tmp_path / "rates.zarr")
    stored = zarr.open_array(tmp_path / "rates.zarr", mode="r")[:]
    np.testing.assert_array_equal(stored, local)


def test_a_prediction_beside_workers_is_the_same(tiles, client, tmp_path):
    again = tiles[:1000].copy()
    ref = again.uns.pop("reference")
    alone = tiles[:1000].copy()
    alone.obsm["X_means"] = np.asarray(alone.obsm["X_means"].compute(scheduler="synchronous"))
    bs.tl.impute(alone, ref=ref)
    bs.tl.impute(again, ref=ref, store=tmp_path / "again.zarr")
    np.testing.assert_array_equal(again.layers["bleep"].compute(), alone.layers["bleep"])
    np.testing.assert_array_equal(again.obs["bleep_confidence"], alone.obs["bleep_confidence"])


def test_patches_are_read_and_restained_by_workers(toy, client, monkeypatch, tmp_path):
    part = toy[toy.obs["library_id"] == "slice3"][:48].copy()
    monkeypatch.setattr(_cut, "BLOCK", 16)
    monkeypatch.setattr(_normalize_stains, "BLOCK", 16)
    bs.pp.extract_patches(part, size=24, size_um=112, store=tmp_path / "patches.zarr")
    bs.pp.normalize_stains(part)
    arrays = [part.obsm["patches"], part.obsm["patches_normalized"]]
    local = [array.compute(scheduler="synchronous") for array in arrays]
    unread_here(monkeypatch)
    for array, each in zip(arrays, local, strict=True):
        assert array.npartitions == 3
        np.testing.assert_array_equal(array.compute(), each)
