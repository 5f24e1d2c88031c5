"""The page about LazySlide, run as it is written, on generated slides."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import bleep_sc as bs

pytestmark = pytest.mark.filterwarnings("ignore")  # what LazySlide, wsidata and spatialdata say of each other

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "lazyslide.md"


class Net(torch.nn.Module):
    """The mean colours of sixteen parts of a tile."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


def transform(image):
    return torch.as_tensor(image).permute(2, 0, 1).float() / 255


@pytest.fixture
def slides(toy, tmp_path, monkeypatch):
    """A measured and a new slide as TIFF files in the working folder, and the measured spots."""
    monkeypatch.chdir(tmp_path)
    for name, file in (("slice1", "reference.tif"), ("slice3", "query.tif")):
        pixels = toy.uns["spatial"][name]["images"]["hires"]
        tifffile.imwrite(
            file, pixels, tile=(256, 256), photometric="rgb", resolution=(5000, 5000), resolutionunit="CENTIMETER"
        )
    return toy


def spots(toy, name):
    adata = toy[toy.obs["library_id"] == name].copy()
    del adata.obsm["patches"], adata.obsm["X_stain_stats"]
    return adata


def features_at(adata, file):
    with bs.slides.open_slide(file) as slide:
        patches = bs.slides.cut_patches(slide, np.rint(adata.obsm["spatial"]), side=56, size=56)
    return Net()(torch.stack([transform(patch) for patch in patches])).numpy()


def with_few_epochs(monkeypatch):
    fit = bs.tl.fit
    monkeypatch.setattr(
        bs.tl, "fit", lambda *args, **kwargs: fit(*args, **kwargs, config=bs.tl.FitConfig(max_epochs=60))
    )


def test_the_page_runs_and_its_features_are_of_the_spots_and_tiles(slides, monkeypatch):
    pytest.importorskip("wsidata", reason="wsidata is not installed: pip install lazyslide wsidata")
    pytest.importorskip("lazyslide", reason="lazyslide is not installed: pip install lazyslide wsidata")
    adata = spots(slides, "slice1")
    with_few_epochs(monkeypatch)
    names = {"adata": adata, "model": Net(), "transform": transform}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)

    tiles = names["tiles"]
    assert tiles.n_obs > 100
    assert list(tiles.var_names) == list(adata.var_names)
    for place, file in ((adata, "reference.tif"), (tiles, "query.tif")):  # features are those of the patches there
        assert (np.abs(place.obsm["X_net"] - features_at(place, file)) < 0.01).mean() > 0.98
    again = tiles[:20].copy()  # so predictions are the same
    del again.layers["bleep"]
    again.obsm["X_net"] = features_at(again, "query.tif")
    bs.tl.impute(again, ref=adata)
    np.testing.assert_allclose(again.layers["bleep"], tiles[:20].layers["bleep"], atol=1e-3)
    np.testing.assert_array_equal(names["wsi"]["tiles"]["gene"], tiles[:, adata.var_names[0]].layers["bleep"].ravel())
