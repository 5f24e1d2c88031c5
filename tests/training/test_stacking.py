"""What another prediction adds: equal to a slow version, in any unit, and nothing where it is useless."""

import numpy as np
import pytest

from bleep_sc.training.stacking import stack, stacked, within_slides

N_SLIDES, N_SPOTS = 4, 150


@pytest.fixture
def made_up():
    """Four slides of which two share a donor; the other prediction knows the first five genes, and no more."""
    random = np.random.default_rng(0)
    slides = np.repeat([f"s{i}" for i in range(N_SLIDES)], N_SPOTS)
    units = np.where(slides == "s1", "s0", slides)
    known, hidden = random.normal(size=(2, len(slides), 10))
    truth = known + hidden + random.normal(size=known.shape)
    own = known + random.normal(size=(N_SLIDES, 10)).repeat(N_SPOTS, axis=0)  # the level of slides differs
    other = 7 + 0.2 * np.where(np.arange(10) < 5, hidden, random.normal(size=hidden.shape))
    return truth, own, other, slides, units


def slow(truth, own, other, slides, units):
    """Gene by gene and unit by unit, by numpy's least squares."""
    centred = [np.concatenate([each[slides == s] - each[slides == s].mean(0) for s in np.unique(slides)])
               for each in (truth, own, other)]  # fmt: skip
    order = np.concatenate([np.flatnonzero(slides == s) for s in np.unique(slides)])
    of = units[order]

    def fit(y, o, e):
        c = np.linalg.lstsq(o[:, None], e, rcond=None)[0][0]
        return max(np.linalg.lstsq((e - c * o)[:, None], y - o, rcond=None)[0][0], 0), c

    for y, o, e in zip(*(each.T for each in centred), strict=True):
        gained = moved = 0.0
        for unit in np.unique(of):
            out = of == unit
            b, c = fit(y[~out], o[~out], e[~out])
            change = b * (e - c * o)[out]
            gained, moved = gained + change @ (y - o)[out], moved + change @ change
        b, c = fit(y, o, e)
        yield (np.clip(gained / moved, 0, 1) if moved else 0.0) * b, c


def test_slopes_are_those_of_a_slow_version(made_up):
    slope, overlap = stack(*made_up)
    expected = np.array(list(slow(*made_up)))
    np.testing.assert_allclose(np.stack([slope, overlap], axis=1), expected, atol=1e-10)


def test_what_is_known_is_taken_and_what_is_not_is_left(made_up):
    slope, _ = stack(*made_up)
    np.testing.assert_allclose(slope[:5], 5, rtol=0.15)  # one over the 0.2 of its units
    assert (slope[5:] < 0.3).all()
    assert (slope[5:] == 0).any()


def test_units_and_level_of_the_other_do_not_matter_and_neither_does_order(made_up):
    truth, own, other, slides, units = made_up
    slope, overlap = stack(*made_up)
    result = stacked(own, other, slides, slope, overlap)
    shifts = np.random.default_rng(1).normal(size=(N_SLIDES, 10)).repeat(N_SPOTS, axis=0)
    elsewhere = 100 * other + shifts
    of_elsewhere = stack(truth, own, elsewhere, slides, units)
    np.testing.assert_allclose(of_elsewhere[0], slope / 100, atol=1e-12)
    np.testing.assert_allclose(stacked(own, elsewhere, slides, *of_elsewhere), result, atol=1e-9)
    order = np.random.default_rng(2).permutation(len(slides))
    np.testing.assert_allclose(stack(*(each[order] for each in made_up))[0], slope, atol=1e-10)


def test_the_mean_of_a_slide_stays_and_errors_shrink(made_up):
    truth, own, other, slides, _ = made_up
    result = stacked(own, other, slides, *stack(*made_up))
    for name in np.unique(slides):
        np.testing.assert_allclose(result[slides == name].mean(0), own[slides == name].mean(0), atol=1e-10)
    errors = [np.square(within_slides(truth - each, slides)).mean(axis=0) for each in (result, own)]
    assert (errors[0][:5] < 0.6 * errors[1][:5]).all()
    np.testing.assert_allclose(errors[0][5:], errors[1][5:], rtol=0.01)


def test_what_does_not_vary_opposes_or_repeats_adds_nothing(made_up):
    truth, own, other, slides, units = made_up
    for useless in (np.ones_like(other), -other, 3 * own + 1):
        slope, overlap = stack(truth[:, :5], own[:, :5], useless[:, :5], slides, units)
        np.testing.assert_allclose(stacked(own[:, :5], useless[:, :5], slides, slope, overlap), own[:, :5], atol=1e-9)
