import numpy as np
import pytest

import bleep_sc as bs


def test_outlines_lie_where_patches_were_cut_and_the_gallery_shows_them(query):
    slide, gallery = bs.pl.patches(query, n_patches=5, random_state=3)
    every, shown = slide.collections
    side = query.uns["patches"]["slice3"]["side_px"]
    boxes = np.array([path.get_extents().get_points() for path in every.get_paths()])
    np.testing.assert_allclose(boxes.mean(axis=1), query.obsm["spatial"])
    np.testing.assert_allclose(boxes[:, 1] - boxes[:, 0], side)
    drawn = np.array([path.get_extents().get_points().mean(axis=0) for path in shown.get_paths()])
    rows = [np.flatnonzero((query.obsm["spatial"] == place).all(axis=1))[0] for place in drawn]
    mosaic = gallery.images[0].get_array()
    np.testing.assert_array_equal(mosaic[:56, :56], query.obsm["patches"][rows[0]])
    assert [text.get_text() for text in gallery.texts] == ["1", "2", "3", "4", "5"]
    assert slide.get_title() == "slice3: 228 patches of 112 µm"


def test_other_slides(toy):
    assert bs.pl.patches(toy, library_id="slice2")[0].get_title().startswith("slice2: ")
    with pytest.raises(KeyError, match="library_id='x' is not in adata"):
        bs.pl.patches(toy, library_id="x")
    del toy.obsm["patches"]
    with pytest.raises(KeyError, match=r"obsm\['patches'\] not found"):
        bs.pl.patches(toy)
