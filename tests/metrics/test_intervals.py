import numpy as np
import pytest

from bleep_sc.metrics import bootstrap_interval


def test_patients_are_what_is_resampled():
    """Sections that repeat their patient add no knowledge: the interval is that of the patients."""
    patients = np.array([0.1, 0.3, 0.5, 0.7])
    once = bootstrap_interval(patients, np.array(list("abcd")))
    often = bootstrap_interval(np.repeat(patients, 20), np.repeat(list("abcd"), 20))
    assert often.upper - often.lower == pytest.approx(once.upper - once.lower, abs=0.02)
    naive = bootstrap_interval(np.repeat(patients, 20), np.array(["one"] * 80))
    assert naive.upper - naive.lower < 0.5 * (often.upper - often.lower)


def test_one_patient_allows_no_inference_between_patients():
    interval = bootstrap_interval(np.array([0.1, 0.2, 0.3]), np.array(["a"] * 3))
    assert not interval.between_groups
    assert (interval.n_groups, interval.mean) == (1, pytest.approx(0.2))
    assert 0.1 <= interval.lower < 0.2 < interval.upper <= 0.3


def test_it_covers_as_often_as_it_says():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(25).astype(str), 3)
    covered = 0
    for trial in range(60):
        values = np.repeat(random.normal(size=25), 3) + random.normal(size=75)
        interval = bootstrap_interval(values, groups, level=0.9, n_resamples=200, random_state=trial)
        covered += interval.lower <= 0 <= interval.upper
    assert 46 <= covered <= 59


def test_a_seed_decides_and_a_single_section_has_no_width():
    values, groups = np.arange(6.0), np.array(list("aabbcc"))
    assert bootstrap_interval(values, groups) == bootstrap_interval(values, groups)
    one = bootstrap_interval(np.array([0.4]), np.array(["a"]))
    assert one.lower == one.mean == one.upper


@pytest.mark.parametrize(
    ("values", "groups", "level"), [([], [], 0.9), ([1.0], ["a", "b"], 0.9), ([1.0], ["a"], 90), ([np.nan], ["a"], 0.9)]
)
def test_bad_input(values, groups, level):
    with pytest.raises(ValueError, match=r"one group for each|must lie between|not finite"):
        bootstrap_interval(np.array(values), np.array(groups), level=level)
