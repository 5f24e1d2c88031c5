"""Fixtures: toy tissue, prepared once, and real tissue where it is at hand."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import matplotlib as mpl
import pytest
import scanpy as sc
import torch
from anndata import AnnData

import bleep_sc as bs

SHARED = Path(__file__).parents[2] / "shared" / "data"
if "BLEEP_SC_DATA" not in os.environ and SHARED.is_dir():
    os.environ["BLEEP_SC_DATA"] = str(SHARED)

mpl.use("agg")
torch.set_num_threads(1)  # small tensors, and a machine that is shared


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with real tissue; tests that need it are skipped without."""
    folder = os.environ.get("BLEEP_SC_DATA")
    if folder is None or not Path(folder).is_dir():
        pytest.skip("real tissue not found: set BLEEP_SC_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def _toy() -> AnnData:
    adata = bs.datasets.toy(n_slices=3)
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=56, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    return adata


@pytest.fixture
def toy(_toy: AnnData) -> AnnData:
    """Three slices of toy tissue: log-normalised, with counts, patches and stain statistics."""
    return _toy.copy()


@pytest.fixture
def reference(toy: AnnData) -> AnnData:
    """The first two slices, with genes chosen on them."""
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    return ref


@pytest.fixture
def query(toy: AnnData) -> AnnData:
    """The third slice."""
    return toy[toy.obs["library_id"] == "slice3"].copy()


@pytest.fixture(scope="session")
def _fitted(_toy: AnnData) -> AnnData:
    ref = _toy[_toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=60), show_progress_bar=False)
    return ref


@pytest.fixture
def fitted(_fitted: AnnData) -> AnnData:
    """The reference, with a trained model."""
    return _fitted.copy()
