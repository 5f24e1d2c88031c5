import numpy as np
import pytest

from bleep_sc import slides
from bleep_sc.slides._stains import FITS, MacenkoStains, ReinhardStains, average_stains, sample_pixels, stains_from

H, E = np.array([0.65, 0.70, 0.29]), np.array([0.17, 0.95, 0.26])
VECTORS = np.array([H / np.linalg.norm(H), E / np.linalg.norm(E)])


def stained(strength=(1.0, 1.0), vectors=VECTORS, n=4, size=40, seed=0):
    """Patches of known concentrations: pixels of one stain, of both, and of none."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(3.0, 0.18, size=(n, size, size, 2))
    kind = rng.integers(5, size=(n, size, size))
    amounts[kind == 0, 0] = 0
    amounts[kind == 1, 1] = 0
    amounts[kind == 2] = 0
    density = (amounts * strength) @ vectors
    return np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255).astype(np.uint8)


def pixels(patches):
    return patches.reshape(-1, 3)


def apart(a, b):
    return np.abs(a.astype(int) - b.astype(int))


def tissue(patches):
    return -np.log((patches.astype(float) + 1) / 256).mean(axis=-1) > 0.15


def test_reinhard_is_what_a_slow_version_says():
    own, target = stained(), stained((0.7, 1.3), seed=1)
    to_cones = [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]

    def lab(pixel):
        l, m, s = (np.log(1 + sum(w * float(v) for w, v in zip(row, pixel, strict=True))) for row in to_cones)
        return np.array([(l + m + s) / 3**0.5, (l + m - 2 * s) / 6**0.5, (l - m) / 2**0.5])

    def fit(patches):
        colours = np.array([lab(pixel) for pixel in pixels(patches) if sum(map(density, pixel)) / 3 > 0.15])
        return colours.mean(axis=0), np.sqrt(((colours - colours.mean(axis=0)) ** 2).mean(axis=0))

    def density(value):
        return -np.log((float(value) + 1) / 256)

    (mean, sd), (to_mean, to_sd) = fit(own), fit(target)
    fitted = [slides.fit_reinhard(pixels(patches)) for patches in (own, target)]
    np.testing.assert_allclose(fitted[0].numbers(), [*mean, *sd], rtol=1e-3, atol=1e-4)
    result = slides.restain(own, *fitted)
    for place in np.ndindex(1, 12, 12):
        pixel = own[place]
        moved = (lab(pixel) - mean) / sd * to_sd + to_mean
        l, a, b = moved[0] / 3**0.5, moved[1] / 6**0.5, moved[2] / 2**0.5
        cones = np.exp([l + a + b, l + a - b, l - 2 * a]) - 1
        share = min(sum(map(density, pixel)) / 3 / 0.15, 1)
        expected = share * np.linalg.solve(to_cones, cones) + (1 - share) * pixel
        assert apart(result[place], np.clip(np.rint(expected), 0, 255)).max() <= 1


def test_macenko_is_what_a_slow_version_says():
    own, target = stained(), stained((0.7, 1.3), seed=1)

    def fit(patches):
        rows = [[-np.log((float(value) + 1) / 256) for value in pixel] for pixel in pixels(patches)]
        density = np.array([row for row in rows if np.mean(row) > 0.15])
        first, second = np.linalg.svd(density, full_matrices=False)[2][:2]
        first = first if first.sum() > 0 else -first
        angles = [np.arctan2(row @ second, row @ first) for row in density]
        ends = [np.cos(a) * first + np.sin(a) * second for a in np.percentile(angles, [1, 99])]
        vectors = np.array(sorted(ends, key=lambda end: -end[0]))
        amounts = np.array([np.linalg.lstsq(vectors.T, row, rcond=None)[0] for row in density])
        return vectors, np.percentile(amounts, 99, axis=0)

    (vectors, strongest), (to_vectors, to_strongest) = fit(own), fit(target)
    fitted = [slides.fit_macenko(pixels(patches)) for patches in (own, target)]
    np.testing.assert_allclose(fitted[0].vectors, vectors, atol=1e-4)
    np.testing.assert_allclose(fitted[0].strongest, strongest, rtol=1e-3)
    result = slides.restain(own, *fitted)
    for place in np.ndindex(1, 12, 12):
        density = -np.log((own[place].astype(float) + 1) / 256)
        amounts = np.linalg.lstsq(vectors.T, density, rcond=None)[0]
        rest = density - amounts @ vectors
        perpendicular = np.cross(*to_vectors) / np.linalg.norm(np.cross(*to_vectors))
        size = rest @ (np.cross(*vectors) / np.linalg.norm(np.cross(*vectors)))
        expected = 256 * np.exp(-(amounts / strongest * to_strongest @ to_vectors + size * perpendicular)) - 1
        assert apart(result[place], np.clip(np.rint(expected), 0, 255)).max() <= 1


def test_macenko_finds_the_stains_and_undoes_other_ones():
    original = stained()
    found = slides.fit_macenko(pixels(original))
    np.testing.assert_allclose(found.vectors, VECTORS, atol=0.03)
    turned = VECTORS + np.array([[0.05, -0.05, 0.02], [-0.04, 0.0, 0.05]])
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    for strength, vectors in (((0.75, 1.3), VECTORS), ((1.3, 0.75), VECTORS), ((0.9, 1.2), turned)):
        other = stained(strength, vectors)
        back = slides.restain(other, slides.fit_macenko(pixels(other)), found)
        assert apart(other, original).mean() > 4
        assert apart(back, original).mean() < 1
        assert np.percentile(apart(back, original), 99) <= 3


def test_reinhard_undoes_what_moves_and_stretches_its_axes():
    original = pixels(stained())
    original = original[original.mean(axis=1) < 170]  # none of which becomes glass, or comes from it
    own = slides.fit_reinhard(original)
    elsewhere = ReinhardStains(own.mean - [0.2, 0.05, 0.01], own.sd * [0.8, 0.9, 0.95])
    other = slides.restain(original, own, elsewhere)
    back = slides.restain(other, slides.fit_reinhard(other), own)
    assert apart(other, original).mean() > 8
    assert apart(back, original).mean() < 1


@pytest.mark.parametrize("fit", FITS.values())
def test_the_target_itself_stays_and_so_does_white(fit):
    patches = stained()
    patches[:, :4] = 255
    own, target = fit(pixels(patches)), fit(pixels(stained((0.7, 1.3))))
    assert apart(slides.restain(patches, own, own), patches).max() <= 1
    once = slides.restain(patches, own, target)
    assert (once[:, :4] == 255).all()
    twice = slides.restain(once, fit(pixels(once)), target)
    assert apart(once, twice).mean() < 1


@pytest.mark.parametrize("fit", FITS.values())
def test_glass_does_not_count(fit):
    patches = pixels(stained())
    glass = np.random.default_rng(0).integers(235, 256, size=(3 * len(patches), 3)).astype(np.uint8)
    np.testing.assert_allclose(fit(np.concatenate([patches, glass])).numbers(), fit(patches).numbers(), rtol=1e-5)
    with pytest.raises(ValueError, match="0 of 300 pixels are tissue"):
        fit(glass[:300])
    with pytest.raises(ValueError, match="its tissue has one colour"):
        fit(np.full((500, 3), [120, 60, 140], dtype=np.uint8))


def test_order_does_not_matter_and_numbers_are_enough():
    patches = pixels(stained())
    for fit in FITS.values():
        fitted = fit(patches)
        np.testing.assert_allclose(fit(patches[::-1]).numbers(), fitted.numbers(), rtol=1e-5)
        again = stains_from(fitted.method, fitted.numbers().tolist())
        assert type(again) is type(fitted)
        np.testing.assert_array_equal(again.numbers(), fitted.numbers())
    with pytest.raises(TypeError, match="'reinhard' cannot be carried to those of 'macenko'"):
        slides.restain(stained(), slides.fit_reinhard(patches), slides.fit_macenko(patches))


def test_slides_count_alike():
    means = [ReinhardStains(np.full(3, float(i)), np.full(3, 1.0 + i)) for i in (1, 4)]
    np.testing.assert_array_equal(average_stains(means).numbers(), [2.5] * 3 + [3.5] * 3)
    turned = VECTORS[:, [1, 0, 2]]
    mean = average_stains([MacenkoStains(v, np.array([1.0, s])) for v, s in ((VECTORS, 1.0), (turned, 2.0))])
    np.testing.assert_allclose(np.linalg.norm(mean.vectors, axis=1), 1)
    np.testing.assert_allclose(mean.vectors[0], (VECTORS + turned)[0] / np.linalg.norm((VECTORS + turned)[0]))
    np.testing.assert_array_equal(mean.strongest, [1.0, 1.5])


def test_a_sample_holds_so_many_pixels_and_is_always_the_same(monkeypatch):
    from bleep_sc.slides import _stains

    patches = stained(n=9, size=20)
    assert sorted(map(tuple, sample_pixels(patches))) == sorted(map(tuple, pixels(patches)))
    monkeypatch.setattr(_stains, "N_PATCHES", 5)
    monkeypatch.setattr(_stains, "N_PIXELS", 500)
    sample = sample_pixels(patches)
    assert sample.shape == (500, 3)
    np.testing.assert_array_equal(sample_pixels(patches), sample)
    here = [{tuple(pixel) for pixel in patch.reshape(-1, 3)} for patch in patches]
    whole = [{tuple(pixel) for pixel in part} <= each for part in sample.reshape(5, 100, 3) for each in here]
    assert sum(whole) >= 5


@pytest.mark.filterwarnings("ignore")  # what squidpy, spatialdata and dask say of each other
@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_squidpy_does_the_same_to_a_whole_image(method):
    im = pytest.importorskip("squidpy").experimental.im
    if not hasattr(im, "normalize_stains"):
        pytest.skip("this squidpy normalises no stains")
    import spatialdata as sd

    images = {"ref": stained((0.8, 1.2), n=1, size=96)[0], "query": stained(n=1, size=96, seed=3)[0]}
    elements = {name: sd.models.Image2DModel.parse(each, dims=("y", "x", "c")) for name, each in images.items()}
    labels = {
        f"{name}_tissue": sd.models.Labels2DModel.parse(tissue(each).astype(np.int64), dims=("y", "x"))
        for name, each in images.items()
    }
    slide = sd.SpatialData(images=elements, labels=labels)
    reference = im.fit_stain_reference(slide, "ref", method=method)
    theirs = im.normalize_stains(slide, "query", reference, inplace=False).transpose("y", "x", "c").to_numpy()
    fits = {name: FITS[method](pixels(each)) for name, each in images.items()}
    target = fits["ref"]
    if isinstance(target, MacenkoStains):  # squidpy replaces the colours of the stains, not how strong they are
        target = MacenkoStains(target.vectors, fits["query"].strongest)
        np.testing.assert_allclose(reference.stain_matrix[:, :2].T, target.vectors, atol=1e-3)
    else:
        np.testing.assert_allclose(np.concatenate([reference.mu, reference.sigma]), target.numbers(), rtol=1e-3)
    ours = slides.restain(images["query"], fits["query"], target)
    assert apart(ours, theirs)[tissue(images["query"])].max() <= 1
