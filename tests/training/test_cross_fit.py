import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.ndimage import gaussian_filter

from bleep_sc._arrays import blocks
from bleep_sc._arrays.sparse_rows import SparseRows
from bleep_sc.models.calibration import PROBABILITIES, disagreement, interval_scale
from bleep_sc.training.calibration import calibrate
from bleep_sc.training.config import FitConfig
from bleep_sc.training.cross_fit import SMOOTHINGS_UM, HeldOut, _smoothing, cross_fit
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes.group import Processes
from bleep_sc.training.reference import fit_reference
from bleep_sc.training.validation import units_to_hold_out

CONFIG = FitConfig(max_epochs=30, views=("scaled",))


@pytest.fixture(scope="module")
def linked():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(240, 2))
    features = (cause @ rng.normal(size=(2, 10)) + 0.1 * rng.normal(size=(240, 10))).astype(np.float32)
    expression = (cause @ rng.normal(size=(2, 20)) + 0.1 * rng.normal(size=(240, 20))).astype(np.float32)
    expression[:, 15:] = rng.normal(size=(240, 5))  # what no image shows
    return Pairs(features, expression), np.repeat(["a", "b", "c"], 80)


@pytest.fixture(scope="module")
def held_out(linked):
    return cross_fit(*linked, units=linked[1], config=CONFIG, show_progress_bar=False)


def test_every_spot_is_predicted_by_a_model_that_has_not_seen_its_slide(linked, held_out):
    pairs, groups = linked
    assert sorted(held_out.slides) == sorted(groups)
    np.testing.assert_array_equal(held_out.truth, pairs.expression[held_out.rows])
    np.testing.assert_array_equal(held_out.slides, groups[held_out.rows])
    changed = pairs.expression.copy()
    changed[groups == "a"] = np.random.default_rng(5).normal(size=changed[groups == "a"].shape)
    again = cross_fit(Pairs(pairs.images, changed), groups, units=groups, config=CONFIG, show_progress_bar=False)
    is_a = held_out.slides == "a"
    np.testing.assert_array_equal(again.retrieved[is_a], held_out.retrieved[is_a])
    np.testing.assert_array_equal(again.regressed[is_a], held_out.regressed[is_a])
    assert not np.array_equal(again.retrieved[~is_a], held_out.retrieved[~is_a])


def test_what_is_held_out_is_counted_and_timed(linked, caplog):
    caplog.set_level("INFO", "bleep_sc")
    cross_fit(*linked, units=linked[1], config=FitConfig(max_epochs=1, views=("scaled",)), show_progress_bar=False)
    told = [each for each in caplog.messages if "from the others" in each or "That took" in each]
    assert told[::2] == [f"Predicting '{name}' from the others ({n} of 3)." for n, name in enumerate("cab", start=1)]
    assert [re.fullmatch(r"That took \d+ s \((\d of 3)\)\.", each)[1] for each in told[1::2]] == [
        "1 of 3",
        "2 of 3",
        "3 of 3",
    ]


def test_genes_are_believed_as_far_as_they_were_predicted(held_out):
    known = calibrate(held_out)
    assert known.predictability[:15].min() > 0.7
    assert np.abs(known.predictability[15:]).max() < 0.4
    prediction = held_out.retrieved + known.shrinkage * (held_out.regressed - held_out.retrieved)
    slow = np.mean(
        [
            [
                np.corrcoef(prediction[held_out.slides == s, g], held_out.truth[held_out.slides == s, g])[0, 1]
                for g in range(20)
            ]
            for s in "abc"
        ],
        axis=0,
    )
    np.testing.assert_allclose(known.predictability, slow, atol=0.03)  # less what is chance


def test_intervals_hold_their_share_of_what_was_held_out(held_out):
    known = calibrate(held_out)
    prediction = held_out.retrieved + known.shrinkage * (held_out.regressed - held_out.retrieved)
    scale = interval_scale(held_out.variance, held_out.truth.std(axis=0))
    for share in (0.5, 0.9):
        low, high = (known.end(p, prediction, scale) for p in ((1 - share) / 2, (1 + share) / 2))
        inside = (held_out.truth >= low) & (held_out.truth <= high)
        np.testing.assert_allclose(inside.mean(axis=0), share, atol=0.07)
        assert inside.mean() == pytest.approx(share, abs=0.03)
    with pytest.raises(ValueError, match=r"must lie between 0 and 0\.99"):
        known.end(0.999, prediction, scale)


def test_intervals_move_with_what_the_image_shows_and_with_nothing_else(held_out):
    known = calibrate(held_out)
    middle = slice(2, -2)  # the outermost quantiles of 240 spots are accidents
    assert known.is_local[middle, :15].mean() > 0.9
    assert known.is_local[middle, 15:].mean() < 0.6
    prediction, scale = held_out.retrieved, interval_scale(held_out.variance, held_out.truth.std(axis=0))
    for i, probability in enumerate(PROBABILITIES):
        ends = known.end(probability, prediction, scale)
        moving = prediction + scale * known.residuals[i]
        np.testing.assert_allclose(ends, np.where(known.is_local[i], moving, known.levels[i]), atol=1e-5)
        some = known.end(probability, prediction[:, [3, 17]], scale[:, [3, 17]], np.array([3, 17]))
        np.testing.assert_array_equal(some, ends[:, [3, 17]])


def test_shrinkage_is_the_best_step_towards_the_regression():
    rng = np.random.default_rng(0)
    n, slides = 3000, np.repeat(["a", "b"], 1500)
    retrieved, regressed = (rng.normal(size=(n, 3)).astype(np.float32) for _ in range(2))
    best = np.array([0.0, 0.4, 1.0])
    truth = retrieved + best * (regressed - retrieved) + 0.05 * rng.normal(size=(n, 3))
    truth[slides == "a"] += 3  # the level of a slide says nothing
    zeros = np.ones((n, 3), dtype=np.float32)
    known = calibrate(
        HeldOut(
            slides, slides, truth.astype(np.float32), retrieved, zeros, regressed, rng.uniform(size=n), np.arange(n)
        )
    )
    np.testing.assert_allclose(known.shrinkage, best, atol=0.03)
    assert 0.3 < known.typical_shrinkage < 0.7


def test_confidence_follows_the_expected_error():
    rng = np.random.default_rng(0)
    n, slides = 4000, np.repeat(["a", "b"], 2000)
    similarity, spread = rng.uniform(size=n).astype(np.float32), rng.uniform(0.5, 2, size=n).astype(np.float32)
    truth = (rng.normal(size=(n, 60)) * (0.2 + spread[:, None])).astype(np.float32)
    zeros = np.zeros_like(truth)
    variance = np.broadcast_to(np.square(spread)[:, None], truth.shape).astype(np.float32)
    known = calibrate(HeldOut(slides, slides, truth, zeros, variance, zeros, similarity, np.arange(n)))
    confidence = known.confidence(similarity, disagreement(variance[:, known.monitored], known.std[known.monitored]))
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    np.testing.assert_allclose(np.quantile(confidence, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.02)
    errors = np.square(truth).mean(axis=1)
    by_quintile = [errors[q].mean() for q in np.array_split(np.argsort(confidence), 5)]
    assert (np.diff(by_quintile) < 0).all()


def test_donors_are_held_out_where_there_are_several_and_else_slides():
    slides = np.repeat(["a", "b", "c"], 2)
    assert units_to_hold_out(slides, None) is slides
    assert units_to_hold_out(slides, {"a": "1", "b": "1", "c": "1"}) is slides
    found = units_to_hold_out(slides, {"a": "1", "b": "2", "c": "1"})
    np.testing.assert_array_equal(found, list("112211"))


def test_no_model_that_predicts_a_donor_has_seen_another_slide_of_it(linked, monkeypatch):
    """Slides of the donors are not neighbours in any order, and a slide is predicted in its own units."""
    from bleep_sc.training import cross_fit as module

    pairs, _ = linked
    slides = np.repeat(list("abcdef"), 40)
    units = units_to_hold_out(slides, dict(zip("abcdef", "xyzxyz", strict=True)))
    seen = []
    own = module.fit_bleep

    def fit_bleep(reference, groups, *, units, **how):
        seen.append((set(groups), set(units)))
        return own(reference, groups, units=units, **how)

    monkeypatch.setattr(module, "fit_bleep", fit_bleep)
    config = FitConfig(max_epochs=2, views=("scaled",))
    held_out = fit_reference(pairs, slides, units=units, config=config, show_progress_bar=False).held_out
    assert sorted(map(sorted, (of_slides for of_slides, _ in seen))) == [list("abde"), list("acdf"), list("bcef")]
    assert all(len(of_units) == 2 for _, of_units in seen)
    np.testing.assert_array_equal(np.sort(held_out.slides), slides)
    assert set(zip(held_out.slides, held_out.units, strict=True)) == set(zip("abcdef", "xyzxyz", strict=True))


def test_one_donor_of_several_slides_is_held_out_slide_by_slide(linked, held_out):
    pairs, slides = linked
    units = units_to_hold_out(slides, dict.fromkeys("abc", "one"))
    again = cross_fit(pairs, slides, units=units, config=CONFIG, show_progress_bar=False)
    for name in (each.name for each in fields(held_out)):
        np.testing.assert_array_equal(getattr(again, name), getattr(held_out, name))


SIDE = 14


@pytest.fixture(scope="module")
def lattice():
    """Places of three slides, µm, and what is smooth there and what is white, two causes each."""
    rng = np.random.default_rng(0)
    row, column = (axis.ravel() for axis in np.mgrid[:SIDE, :SIDE])
    centers = np.tile(100.0 * np.column_stack([column, row]), (3, 1))
    white = rng.normal(size=(3, SIDE, SIDE, 2))
    smooth = gaussian_filter(white, (0, 2.5, 2.5, 0))
    causes = [(each / each.std()).reshape(-1, 2) for each in (smooth, white)]
    return np.repeat(["a", "b", "c"], SIDE**2), centers, *causes


def shown(cause, noise):
    rng = np.random.default_rng(1)
    features = cause @ rng.normal(size=(2, 10)) + noise * rng.normal(size=(len(cause), 10))
    expression = cause @ rng.normal(size=(2, 20)) + 0.5 * rng.normal(size=(len(cause), 20))
    return Pairs(features.astype(np.float32), expression.astype(np.float32))


def smoothing_of(pairs, slides, centers, **changes):
    config = FitConfig(**{"max_epochs": 15, "views": ("raw",), "n_dims": 32, **changes})
    return cross_fit(pairs, slides, units=slides, centers_um=centers, config=config, show_progress_bar=False)


def test_held_out_slides_choose_how_much_tissue_is_averaged(lattice):
    slides, centers, smooth, white = lattice
    noisy = smoothing_of(shown(smooth, 2.0), slides, centers)
    assert noisy.smoothing_um >= 75
    assert float(calibrate(noisy).smoothing_um) == noisy.smoothing_um
    without = smoothing_of(shown(smooth, 2.0), slides, centers, smoothing_um=0.0)
    correlations = [np.corrcoef(each.retrieved[:, 0], each.truth[:, 0])[0, 1] for each in (noisy, without)]
    assert correlations[0] > correlations[1] + 0.05
    assert smoothing_of(shown(white, 0.3), slides, centers).smoothing_um == 0


def test_smoothing_that_was_told_is_kept_and_places_that_are_not_known_leave_none(lattice):
    slides, centers, smooth, _ = lattice
    pairs = shown(smooth, 2.0)
    assert smoothing_of(pairs, slides, centers, smoothing_um=60.0).smoothing_um == 60
    unknown = smoothing_of(pairs, slides, None)
    assert unknown.smoothing_um == 0
    np.testing.assert_array_equal(unknown.retrieved, smoothing_of(pairs, slides, centers, smoothing_um=0.0).retrieved)
    assert smoothing_of(pairs, slides, centers, metric="euclidean").smoothing_um == 0


def test_processes_choose_together_how_much_tissue_is_averaged():
    """Each asks its own folds, and all of them come to what one process comes to."""
    rng = np.random.default_rng(0)
    groups, expression = np.repeat(["a", "b", "c"], 20), rng.random((60, 4)).astype(np.float32)
    rows_of = [np.flatnonzero(groups == name) for name in "abc"]

    class Predicted:
        def __init__(self, rows):
            self.rows = rows

        def means(self, smoothing_um, monitored, genes):
            assert np.array_equal(monitored, expression[:, genes])
            noise = np.random.default_rng(int(smoothing_um)).normal(size=(len(self.rows), len(genes)))
            found = monitored[self.rows] + abs(smoothing_um - 100) / 100 * noise
            return found, found

    folds = {number: Predicted(rows) for number, rows in enumerate(rows_of)}
    alone, told = Processes(), []

    class One(Processes):
        def collect(self, tensor):
            told.append(tensor)
            return torch.stack(told[:2])

    how = (rows_of, expression, groups, SMOOTHINGS_UM)
    assert _smoothing(folds, *how, alone) == 100
    shares = [{number: fold for number, fold in folds.items() if number % 2 == rank} for rank in (0, 1)]
    for share in (*shares, shares[0]):
        chosen = _smoothing(share, *how, One(n=2))
    assert chosen == 100
    assert torch.equal((told[0] != 0) | (told[1] != 0), torch.ones(6, 3, dtype=torch.bool))
    assert not ((told[0] != 0) & (told[1] != 0)).any()


@pytest.mark.parametrize("changes", [{}, {"neighbor_weights": "anchors"}, {"regression": False}])
def test_expression_may_be_sparse_and_its_rows_are_never_dense_all_at_once(lattice, monkeypatch, changes):
    """As many at once as pass by in a block, or are neighbours of some spot; the result is that of dense expression."""
    slides, centers, smooth, _ = lattice
    pairs = shown(smooth, 2.0)
    pairs = Pairs(pairs.images, np.maximum(pairs.expression, 0))
    read = []

    class Counted(SparseRows):
        def __getitem__(self, rows):
            found = super().__getitem__(rows)
            read.append(len(found))
            return found

        def take(self, rows):
            return Counted(self.stored[rows])

    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 20 * 32)
    monkeypatch.setattr("bleep_sc.models.embed.PROFILES", 32)
    monkeypatch.setattr("bleep_sc.training.cross_fit.MAX_SPOTS", 40)
    how = {"max_epochs": 2, "batch_size": 30, **changes}
    thin = Pairs(pairs.images, Counted(sparse.csr_matrix(pairs.expression)))
    dense, found = (smoothing_of(each, slides, centers, **how) for each in (pairs, thin))
    np.testing.assert_array_equal(found.rows, dense.rows)
    for name in ("truth", "retrieved", "variance", "regressed", "similarity", "smoothing_um"):
        np.testing.assert_allclose(getattr(found, name), getattr(dense, name), atol=1e-5)
    assert max(read) <= 3 * 40  # the truth of all that was held out, and else blocks


def test_nothing_of_a_model_is_kept_that_grows_with_the_reference(lattice, monkeypatch):
    from bleep_sc.training import cross_fit as module

    slides, centers, smooth, _ = lattice
    monkeypatch.setattr(module, "MAX_SPOTS", 10)
    kept, own = [], module.placed

    def placed(*args):
        kept.append(own(*args))
        return kept[-1]

    monkeypatch.setattr(module, "placed", placed)
    smoothing_of(shown(smooth, 2.0), slides, centers, n_neighbors=5, max_epochs=1)
    assert [sorted(fold.found) for fold in kept] == [sorted(SMOOTHINGS_UM)] * 3
    for fold in kept:
        for found in fold.found.values():
            assert all(len(getattr(found, each.name)) <= 10 * 5 for each in fields(found))
        assert all(SIDE**2 not in np.shape(each) for each in vars(fold.regression).values())
