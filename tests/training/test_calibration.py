import numpy as np
import pytest

from bleep_sc.models.calibration import PROBABILITIES, disagreement, interval_scale
from bleep_sc.training.calibration import calibrate
from bleep_sc.training.cross_fit import HeldOut


@pytest.fixture
def held_out():
    """Few spots of three slides and eight genes, of which the first ones are predicted, and better by regression."""
    rng = np.random.default_rng(0)
    slides = np.repeat(["a", "b", "c"], [30, 20, 40])
    shown, noise, retrieval, regression = (rng.normal(size=(90, 8)) for _ in range(4))
    truth = np.linspace(1, 0, 8) * shown + noise + (slides == "a")[:, None]
    retrieved, regressed = np.linspace(1, 0, 8) * shown + 0.7 * retrieval, np.linspace(1, 0, 8) * shown + regression
    arrays = (truth, retrieved, rng.uniform(0.1, 2, size=(90, 8)), regressed, rng.uniform(size=90))
    return HeldOut(slides, *(array.astype(np.float32) for array in arrays))


def predicted(held_out, known):
    return held_out.retrieved + known.shrinkage * (held_out.regressed - held_out.retrieved)


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
    prediction, scale = predicted(held_out, known), interval_scale(held_out.variance, held_out.truth.std(axis=0))
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
    errors = np.mean(np.square((held_out.truth - predicted(held_out, known)) / std), axis=1)
    spread = disagreement(held_out.variance, std)
    predictors = np.column_stack([np.ones(90), held_out.similarity, spread])
    np.testing.assert_allclose(predictors.T @ (errors - predictors @ known.error), 0, atol=1e-3)
    np.testing.assert_allclose(
        np.quantile(predictors @ known.error, [0, 0.5, 1]), known.errors[[0, 50, 100]], rtol=1e-5
    )
