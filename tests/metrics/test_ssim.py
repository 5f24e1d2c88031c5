import numpy as np
import pytest
from skimage.metrics import structural_similarity

from bleep_sc.metrics import ssim


@pytest.fixture
def maps():
    random = np.random.default_rng(0)
    truth = random.random((20, 24))
    return truth + 0.3 * random.random(truth.shape), truth


def scaled(values):
    return (values - values.min()) / np.ptp(values)


def on_lattice(*pictures):
    rows, cols = (axis.ravel() for axis in np.indices(pictures[0].shape))
    return (*(picture.reshape(-1, 1) for picture in pictures), rows, cols)


def test_on_a_full_lattice_it_is_that_of_scikit_image(maps):
    """Away from the edges, where scikit-image mirrors the picture and we average what is there."""
    prediction, truth = (scaled(picture) for picture in maps)
    _, expected = structural_similarity(
        prediction, truth, data_range=1, win_size=7, use_sample_covariance=False, full=True
    )
    inner = [slice(3, -3)] * 2
    ours = np.array([_local(prediction, truth, y, x) for y in range(3, 17) for x in range(3, 21)])
    np.testing.assert_allclose(ours, expected[tuple(inner)].ravel())
    whole = [_local(prediction, truth, y, x) for y in range(20) for x in range(24)]
    np.testing.assert_allclose(ssim(*on_lattice(*maps)), [np.mean(whole)])


def _local(a, b, y, x, window=7, kept=None):
    """The index of one window by its definition, over the places that are taken."""
    half = window // 2
    span = np.s_[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
    taken = np.ones(a.shape, dtype=bool)[span] if kept is None else kept[span]
    p, q = a[span][taken], b[span][taken]
    covariance = np.mean(p * q) - p.mean() * q.mean()
    level = (2 * p.mean() * q.mean() + 1e-4) / (p.mean() ** 2 + q.mean() ** 2 + 1e-4)
    return level * (2 * covariance + 9e-4) / (p.var() + q.var() + 9e-4)


def test_places_without_a_spot_are_left_out(maps):
    kept = np.random.default_rng(1).random((20, 24)) < 0.6
    rows, cols = np.nonzero(kept)
    prediction, truth = (np.where(kept, scaled_over(picture, kept), 0.0) for picture in maps)
    expected = np.mean([_local(prediction, truth, y, x, kept=kept) for y, x in zip(rows, cols, strict=True)])
    result = ssim(maps[0][kept][:, None], maps[1][kept][:, None], rows, cols)
    np.testing.assert_allclose(result, [expected])


def scaled_over(picture, kept):
    low, high = picture[kept].min(), picture[kept].max()
    return (picture - low) / (high - low)


def test_a_staggered_lattice_is_pushed_together(maps):
    prediction, truth, rows, cols = on_lattice(*maps)
    staggered = 2 * cols + rows % 2
    np.testing.assert_allclose(ssim(prediction, truth, rows, staggered), ssim(prediction, truth, rows, cols))


def test_truth_scores_one_and_order_does_not_matter(maps):
    prediction, truth, rows, cols = on_lattice(*maps)
    np.testing.assert_allclose(ssim(truth, truth, rows, cols), 1)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = ssim(prediction[order], truth[order], rows[order], cols[order])
    np.testing.assert_allclose(shuffled, ssim(prediction, truth, rows, cols))
    assert np.isnan(ssim(prediction, np.ones_like(truth), rows, cols)).all()


def test_bad_places():
    values = np.ones((2, 1))
    with pytest.raises(ValueError, match="share a place"):
        ssim(values, values, np.array([0, 0]), np.array([1, 1]))
    with pytest.raises(ValueError, match="whole numbers"):
        ssim(values, values, np.array([0.5, 0]), np.array([1, 1]))


def test_genes_that_were_not_predicted_are_nan(maps):
    prediction, truth, rows, cols = on_lattice(*maps)
    assert np.isnan(ssim(np.full_like(prediction, np.nan), truth, rows, cols)).all()
