import numpy as np
import pytest

from bleep_sc.models import map_batches as module
from bleep_sc.models.map_batches import map_batches
from bleep_sc.slides._lazy import StoredPatches
from bleep_sc.slides._store import write_store


def mean_colour(images):
    return images.float().mean(dim=(2, 3))


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_every_row_is_where_its_image_was(patches, batch_size, tmp_path):
    expected = patches.mean(axis=(1, 2))
    np.testing.assert_allclose(map_batches(mean_colour, patches, batch_size=batch_size), expected, rtol=1e-6)
    write_store(tmp_path / "store", lambda done: iter([patches[done:]]), n=11, size=8, recipe={})
    rows = np.random.default_rng(1).permutation(11)
    stored = StoredPatches((str(tmp_path / "store"),), np.zeros(11, dtype=np.intp), rows)
    np.testing.assert_allclose(map_batches(mean_colour, stored, batch_size=batch_size), expected[rows], rtol=1e-6)


def test_a_result_is_fetched_when_the_next_batch_is_queued(patches, monkeypatch):
    order = []

    def network(images):
        order.append("queued")
        return mean_colour(images)

    monkeypatch.setattr(module, "fetched", lambda values: lambda: order.append("fetched") or values)
    map_batches(network, patches, batch_size=4)
    assert order == ["queued", "queued", "fetched", "queued", "fetched", "fetched"]


def test_no_images_are_said(patches):
    with pytest.raises(ValueError, match="There are no images"):
        map_batches(mean_colour, patches[:0], batch_size=4)
