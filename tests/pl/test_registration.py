import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.quiver import Quiver

import bleep_sc as bs
from bleep_sc.slides import transform_points

AT = np.array([[300.0, 200.0], [1650.0, 350.0], [1500.0, 1400.0], [250.0, 1500.0]])
TURNED = np.array([[0.0, -1.0, 1700.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def unpatched(toy):
    del toy.uns["patches"], toy.uns["X_stain_stats"]
    return toy


@pytest.fixture
def registered(toy):
    adata = unpatched(toy)[toy.obs["library_id"] == "slice1"].copy()
    scan = np.rot90(adata.uns["spatial"]["slice1"]["images"]["hires"], -1)
    noise = np.random.default_rng(0).normal(0, 6, AT.shape)
    bs.pp.register(adata, scan, (AT, transform_points(AT, TURNED) + noise))
    return adata


def circles(ax):
    return next(np.asarray(each.get_offsets()) for each in ax.collections if isinstance(each, EllipseCollection))


def test_spots_and_landmarks_lie_where_they_are_on_both_images(registered):
    first, second, _ = bs.pl.registration(registered)
    np.testing.assert_array_equal(circles(first), registered.obsm["spatial_unregistered"])
    np.testing.assert_array_equal(circles(second), registered.obsm["spatial"])
    entry = registered.uns["registration"]["slice1"]
    for ax, places in ((first, entry["source"]), (second, entry["target"])):
        assert any(np.array_equal(each.get_offsets(), places) for each in ax.collections)
        assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4"]
        np.testing.assert_array_equal([text.xy for text in ax.texts], places)


def test_arrows_are_residuals_as_much_enlarged_as_the_title_says(registered):
    _, ax, _ = bs.pl.registration(registered)
    entry = registered.uns["registration"]["slice1"]
    arrows = next(each for each in ax.collections if isinstance(each, Quiver))
    off = entry["target"] - transform_points(entry["source"], entry["matrix"])
    np.testing.assert_allclose(np.column_stack([arrows.U, arrows.V]), 10 * off)
    assert ax.get_title() == f"residual {entry['rms_um']:.3g} µm, left out {entry['left_out_rms_um']:.3g}\narrows × 10"


def drawn(registered, shown):
    """The chequerboard as it is drawn, with the image before or without."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), dpi=100)
    bs.pl.registration(registered, ax=axes)
    axes[2].images[1].set_visible(shown)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(float)
    left, top, right, bottom = (round(each) for each in axes[2].get_window_extent().extents)
    return pixels[len(pixels) - bottom : len(pixels) - top, left:right]


def test_the_image_before_lies_on_every_second_square_of_the_new_one(registered):
    entry = registered.uns["registration"]["slice1"]
    entry["matrix"] = TURNED
    assert np.abs(drawn(registered, True) - drawn(registered, False)).mean() < 1  # px by px it is the same picture
    entry["matrix"] = np.array([[1.0, 0, 20], [0, 1, 0], [0, 0, 1]]) @ TURNED
    assert np.abs(drawn(registered, True) - drawn(registered, False)).mean() > 3  # and not where it lies wrong
    entry["matrix"] = TURNED
    entry["unregistered"]["images"]["hires"] = 255 - entry["unregistered"]["images"]["hires"]
    differs = np.abs(drawn(registered, True) - drawn(registered, False)).max(axis=2) > 0
    assert 0.4 < differs.mean() < 0.6


def test_a_map_without_landmarks_is_drawn(registered):
    scan = registered.uns["spatial"]["slice1"]["images"]["hires"]
    bs.pp.register(registered, scan, transform=TURNED)
    axes = bs.pl.registration(registered)
    assert axes[1].get_title() == "on the new image, by matrix"


def test_a_slide_without_a_picture_before_is_drawn(toy):
    adata = unpatched(toy)[toy.obs["library_id"] == "slice1"].copy()
    scan = np.rot90(adata.uns["spatial"]["slice1"]["images"]["hires"], -1)
    del adata.uns["spatial"]
    bs.pp.register(adata, scan, transform=TURNED)
    _, _, both = bs.pl.registration(adata)
    assert len(both.images) == 1


def test_a_slide_that_was_not_registered_is_named(toy):
    with pytest.raises(ValueError, match="several slides"):
        bs.pl.registration(toy)
    with pytest.raises(KeyError, match=r"'slice2' was not registered .* Run bleep_sc\.pp\.register"):
        bs.pl.registration(toy, library_id="slice2")


def test_the_only_slide_that_was_registered_is_drawn(toy):
    unpatched(toy)
    scan = np.rot90(toy.uns["spatial"]["slice2"]["images"]["hires"], -1)
    bs.pp.register(toy, scan, transform=TURNED, library_id="slice2")
    first, _, _ = bs.pl.registration(toy)
    assert first.get_title() == "slice2, as measured"


def test_exact_landmarks_have_no_residual_and_no_arrows(toy):
    adata = unpatched(toy)[toy.obs["library_id"] == "slice1"].copy()
    scan = np.rot90(adata.uns["spatial"]["slice1"]["images"]["hires"], -1)
    bs.pp.register(adata, scan, (AT, transform_points(AT, TURNED)))
    _, ax, _ = bs.pl.registration(adata)
    assert ax.get_title() == "residual 0 µm, left out 0"
    assert not any(isinstance(each, Quiver) for each in ax.collections)
    (marks,) = [each for each in ax.collections if np.array_equal(each.get_offsets(), transform_points(AT, TURNED))]
    assert marks.zorder > max(bar.zorder for bar in ax.artists)  # none is hidden by the scale bar
