from dataclasses import fields, replace

import numpy as np
import pytest

from bleep_sc.metrics import pearson
from bleep_sc.models.calibration import PROBABILITIES, disagreement, interval_scale
from bleep_sc.training import cross_fit
from bleep_sc.training.calibration import calibrate, ends, held_out_prediction
from bleep_sc.training.cross_fit import HeldOut
from bleep_sc.training.shrinkage import shrinkage_of


@pytest.fixture
def held_out():
    """Few spots of three slides and eight genes, of which the first ones are predicted, and better by regression."""
    rng = np.random.default_rng(0)
    slides = np.repeat(["a", "b", "c"], [30, 20, 40])
    shown, noise, retrieval, regression = (rng.normal(size=(90, 8)) for _ in range(4))
    truth = np.linspace(1, 0, 8) * shown + noise + (slides == "a")[:, None]
    retrieved, regressed = np.linspace(1, 0, 8) * shown + 0.7 * retrieval, np.linspace(1, 0, 8) * shown + regression
    arrays = (truth, retrieved, rng.uniform(0.1, 2, size=(90, 8)), regressed, rng.uniform(size=90))
    return HeldOut(slides, slides, *(array.astype(np.float32) for array in arrays), np.arange(len(slides)))


def of_rows(held_out, rows):
    """Some of the spots."""
    return replace(
        held_out,
        **{each.name: getattr(held_out, each.name)[rows] for each in fields(held_out) if each.name != "smoothing_um"},
    )


def predicted(held_out):
    """Predict every slide with the shrinkage that the others teach."""
    result = held_out.retrieved.copy()
    for slide in np.unique(held_out.slides):
        out = held_out.slides == slide
        others = of_rows(held_out, ~out)
        change = held_out.regressed[out] - held_out.retrieved[out]
        result[out] += others.shrinkage[1] * change
    return result


def test_spots_are_predicted_with_what_other_slides_teach(held_out, monkeypatch):
    expected, asked = predicted(held_out), []
    monkeypatch.setattr(cross_fit, "shrinkage_of", lambda *spots: asked.append(spots) or shrinkage_of(*spots))
    calibrate(held_out)
    np.testing.assert_allclose(held_out_prediction(held_out), expected, rtol=1e-6)
    assert len(asked) == 1  # for both


def test_shrinkage_equals_its_definition(held_out):
    slopes, variances = [], []
    for gene in range(8):
        change, missed = [], []
        for slide in "abc":
            retrieved, regressed, truth = (
                values[held_out.slides == slide, gene].astype(np.float64)
                for values in (held_out.retrieved, held_out.regressed, held_out.truth)
            )
            change.append(regressed - retrieved - (regressed - retrieved).mean())
            missed.append(truth - retrieved - (truth - retrieved).mean())
        change, missed = np.concatenate(change), np.concatenate(missed)
        slopes.append(np.linalg.lstsq(change[:, None], missed, rcond=None)[0][0])
        variances.append(missed.var() / (change**2).sum())
    slopes, variances = np.array(slopes), np.array(variances)
    typical = np.average(slopes, weights=1 / (variances + 0.05))
    own = np.average([slopes, np.full(8, typical)], weights=[1 / variances, np.full(8, 1 / 0.05)], axis=0)
    known = calibrate(held_out)
    assert known.typical_shrinkage == pytest.approx(typical, rel=1e-4)
    np.testing.assert_allclose(known.shrinkage, own.clip(0, 1), rtol=1e-4)


def pinball(end, truth, probability):
    return sum(
        probability * (y - end) if y > end else (1 - probability) * (end - y) for y, end in zip(truth, end, strict=True)
    )


def test_ends_are_compared_on_slides_that_they_were_not_learnt_on(held_out):
    known = calibrate(held_out)
    prediction, scale = predicted(held_out), interval_scale(held_out.variance, held_out.truth.std(axis=0))
    for i, probability in enumerate(PROBABILITIES):
        for gene in range(8):
            truth, own, width = held_out.truth[:, gene], prediction[:, gene], scale[:, gene]
            gain = 0.0
            for slide in "abc":
                out = held_out.slides == slide
                step = np.quantile((truth[~out] - own[~out]) / width[~out], probability)
                level = np.full(out.sum(), np.quantile(truth[~out], probability))
                gain += pinball(level, truth[out], probability)
                gain -= pinball(own[out] + width[out] * step, truth[out], probability)
            assert abs(gain) > 1e-4
            assert known.is_local[i, gene] == (gain > 0)


def test_expected_errors_are_a_least_squares_fit_in_units_of_the_genes(held_out):
    known = calibrate(held_out)
    std = held_out.truth.std(axis=0)
    errors = np.mean(np.square((held_out.truth - predicted(held_out)) / std), axis=1)
    spread = disagreement(held_out.variance, std)
    predictors = np.column_stack([np.ones(90), held_out.similarity, spread])
    np.testing.assert_allclose(predictors.T @ (errors - predictors @ known.error), 0, atol=1e-3)
    np.testing.assert_allclose(
        np.quantile(predictors @ known.error, [0, 0.5, 1]), known.errors[[0, 50, 100]], rtol=1e-5
    )


def simulated(random, sizes, n_genes, apart=0.0, shown=0.0):
    """Slides of such sizes whose levels lie apart, each predicted at the mean level of the others."""
    levels = apart * random.normal(size=(len(sizes), n_genes))
    slides = np.repeat([f"slide{i}" for i in range(len(sizes))], sizes)
    level = np.repeat(levels, sizes, axis=0)
    known = (levels.sum(axis=0) - level) / (len(sizes) - 1)
    signal = random.normal(size=level.shape)
    parts = [level + signal, known + shown * signal + 0.3 * random.normal(size=level.shape), np.ones_like(level)]
    parts.append(known + shown * signal + 0.3 * random.normal(size=level.shape))
    return HeldOut(
        slides,
        slides,
        *(part.astype(np.float32) for part in parts),
        np.ones(len(slides), dtype=np.float32),
        np.arange(len(slides)),
    )


@pytest.mark.parametrize(
    ("sizes", "apart", "least"),
    [([150, 150], 0.0, 0.885), ([20, 20], 0.0, 0.875), ([150, 150], 1.0, 0.88), ([150, 150, 150], 1.0, 0.88)],
)
def test_intervals_hold_what_they_say_on_a_further_slide(sizes, apart, least):
    held = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        held_out = simulated(random, sizes, 40, apart)
        known = calibrate(held_out)
        own = apart * random.normal(size=40) + random.normal(size=(50, 40))  # of a further slide
        level = np.stack([held_out.truth[held_out.slides == name].mean(axis=0) for name in np.unique(held_out.slides)])
        prediction = (level.mean(axis=0) + 0.3 * random.normal(size=(50, 40))).astype(np.float32)
        scale = interval_scale(np.ones_like(prediction), known.std)
        low, high = (known.end(probability, prediction, scale) for probability in (0.05, 0.95))
        held.append(((own >= low) & (own <= high)).mean())
    assert least < np.mean(held) < 0.95


def test_ends_are_those_of_conformal_prediction_where_slides_are_alike():
    values = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    found = ends(values, np.repeat("a", 40), from_others=True)
    ordered = np.sort(values, axis=0)
    for i, probability in enumerate(PROBABILITIES):
        place = np.floor(41 * probability) if probability < 0.5 else np.ceil(41 * probability)
        np.testing.assert_allclose(found[i], ordered[int(np.clip(place, 1, 40)) - 1], rtol=1e-5)


def test_slides_of_one_spot_and_genes_that_do_not_vary_have_ends():
    values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    values[:, 2] = 4
    for slides in (np.arange(6).astype(str), np.array(["a", "a", "a", "b", "b", "c"])):
        for from_others in (True, False):
            found = ends(values, slides, from_others=from_others)
            assert np.isfinite(found).all()
            assert (np.diff(found, axis=0) >= -1e-6).all()
            np.testing.assert_array_equal(found[:, 2], 4)
            assert (found[-1, :2] > found[0, :2]).all()


def test_a_slide_of_few_spots_hardly_counts_for_predictability():
    random = np.random.default_rng(0)
    nothing = [calibrate(simulated(random, [150, 150, 2], 40)).predictability for _ in range(10)]
    assert np.mean(np.array(nothing) >= 0.2) < 0.01  # .49 where a slide of two spots weighs as much as one of 150
    shown = [calibrate(simulated(random, [150, 150, 2], 40, shown=0.5)).predictability.mean() for _ in range(10)]
    assert np.mean(shown) == pytest.approx(0.5 / np.sqrt(0.25 + 0.09 / 2), abs=0.03)


def test_genes_that_nothing_predicts_are_hardly_said_to_be_predictable():
    random = np.random.default_rng(0)
    nothing = [calibrate(simulated(random, [20, 20], 40)).predictability for _ in range(20)]
    assert np.mean(np.array(nothing) >= 0.2) < 0.06


def test_with_many_spots_predictability_is_the_mean_correlation(held_out):
    random = np.random.default_rng(0)
    parts = simulated(random, [800, 800], 20, shown=0.5)
    known, own = calibrate(parts), predicted(parts)
    rows = [parts.slides == name for name in np.unique(parts.slides)]
    expected = np.mean([pearson(own[some], parts.truth[some]) for some in rows], axis=0)
    np.testing.assert_allclose(known.predictability, expected, rtol=0.01)


def test_where_nothing_can_be_known_nothing_is_said(held_out):
    few = of_rows(held_out, [0, 1, 40, 41, 42])
    known = calibrate(few)
    assert np.isnan(known.predictability).all()
    for each in fields(known):
        if each.name != "predictability":
            assert np.isfinite(getattr(known, each.name)).all(), each.name
    assert calibrate(replace(few, regressed=few.retrieved)).typical_shrinkage == 0.5


@pytest.fixture
def of_donors():
    """Five slides of two donors, of which the first has three; genes are shown to different degrees."""
    random = np.random.default_rng(1)
    parts = simulated(random, [60, 90, 40, 50, 70], 30, apart=0.5, shown=0.4)
    donors = dict(zip([f"slide{i}" for i in range(5)], "xxyxy", strict=True))
    return replace(parts, units=np.array([donors[name] for name in parts.slides]))


def test_what_a_donor_is_judged_by_was_learnt_on_others(of_donors):
    """Not on the other slides of the same donor: those would know it."""
    typical, shrunk, elsewhere = of_donors.shrinkage
    whole = replace(of_donors, units=of_donors.slides).shrinkage
    assert typical == pytest.approx(whole[0], rel=1e-6)  # all spots teach the same, whoever they are of
    np.testing.assert_allclose(shrunk, whole[1], rtol=1e-5)
    for donor in "xy":
        out = of_donors.units == donor
        others = of_rows(of_donors, ~out)
        np.testing.assert_allclose(elsewhere[out], np.broadcast_to(others.shrinkage[1], (out.sum(), 30)), rtol=1e-4)


def test_predictability_is_the_mean_over_slides_less_what_donors_disagree_by(of_donors):
    """By the slow version: correlations within slides, averaged within donors, then over them."""
    _, _, elsewhere = of_donors.shrinkage
    own = of_donors.retrieved + elsewhere * (of_donors.regressed - of_donors.retrieved)
    r, weight = {}, {}
    for donor in "xy":
        slides = np.unique(of_donors.slides[of_donors.units == donor])
        rows = [of_donors.slides == name for name in slides]
        weights = [some.sum() - 3 for some in rows]
        r[donor] = np.average([pearson(own[some], of_donors.truth[some]) for some in rows], axis=0, weights=weights)
        weight[donor] = sum(weights)
    mean = np.average(list(r.values()), axis=0, weights=list(weight.values()))
    apart = sum(weight[donor] * np.square(r[donor] - mean) for donor in "xy")  # of two donors, by one degree of freedom
    noise = apart.mean() / sum(weight.values())
    signal = np.square(mean).mean() - noise
    np.testing.assert_allclose(calibrate(of_donors).predictability, mean * signal / (signal + noise), rtol=1e-4)


def test_donors_are_what_differs_in_the_ends_of_intervals(of_donors):
    known = calibrate(of_donors)
    np.testing.assert_array_equal(known.levels, ends(of_donors.truth, of_donors.units, from_others=False))
    by_slide = calibrate(replace(of_donors, units=of_donors.slides))
    assert not np.array_equal(known.levels, by_slide.levels)


def test_intervals_hold_what_they_say_on_a_further_donor_and_not_where_slides_were_held_out():
    """Three slides of each of four donors, who lie apart: slides of a donor know its level."""
    held = {"donors": [], "slides": []}
    for seed in range(12):
        random = np.random.default_rng(seed)
        levels = random.normal(size=(4, 40))
        units = np.repeat(list("wxyz"), 150)
        level = np.repeat(levels, 150, axis=0)
        slides = np.char.add(units, np.tile(np.repeat(list("123"), 50), 4))
        truth = level + random.normal(size=level.shape)
        for basis, known in (("donors", (levels.sum(axis=0) - level) / 3), ("slides", level)):
            blurred = known + 0.3 * random.normal(size=level.shape)
            arrays = [truth, blurred, np.ones_like(truth), blurred, np.ones(600)]
            of = units if basis == "donors" else slides
            held_out = HeldOut(slides, of, *(array.astype(np.float32) for array in arrays), np.arange(600))
            calibration = calibrate(held_out)
            own = random.normal(size=40) + random.normal(size=(50, 40))  # of a further donor
            prediction = (levels.mean(axis=0) + 0.3 * random.normal(size=(50, 40))).astype(np.float32)
            scale = interval_scale(np.ones_like(prediction), calibration.std)
            low, high = (calibration.end(probability, prediction, scale) for probability in (0.05, 0.95))
            held[basis].append(((own >= low) & (own <= high)).mean())
    assert 0.87 < np.mean(held["donors"]) < 0.96
    assert np.mean(held["slides"]) < 0.85


def test_ends_are_compared_on_as_many_units_at_once_as_models_hold_out(monkeypatch):
    """The cost does not grow with the slides, and the choice is the one of unit after unit."""
    from bleep_sc.training import calibration as module

    rng = np.random.default_rng(0)
    units = np.repeat([f"u{i}" for i in range(40)], 25)
    shown = rng.normal(size=(1000, 1)).astype(np.float32)
    truth = np.concatenate([shown + 0.1 * rng.normal(size=(1000, 1)), rng.normal(size=(1000, 1))], axis=1)
    truth, predicted = truth.astype(np.float32), np.repeat(shown, 2, axis=1)
    calls, own = [], np.quantile

    def quantile(*args, **how):
        calls.append(len(args[0]))
        return own(*args, **how)

    monkeypatch.setattr(np, "quantile", quantile)
    better = module._better_local(truth, predicted, np.ones_like(truth), units)
    assert calls == [800] * 10
    middle = slice(2, -2)
    assert better[middle, 0].all()
    assert not better[middle, 1].any()
