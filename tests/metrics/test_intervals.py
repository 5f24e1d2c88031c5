import numpy as np
import pytest
from scipy import stats

from bleep_sc.metrics import bootstrap_interval


def test_patients_are_what_is_resampled():
    """Sections that repeat their patient add no knowledge: the interval is that of the patients."""
    patients = np.array([0.1, 0.3, 0.5, 0.7])
    once = bootstrap_interval(patients, np.array(list("abcd")))
    often = bootstrap_interval(np.repeat(patients, 20), np.repeat(list("abcd"), 20))
    assert often.upper - often.lower == pytest.approx(once.upper - once.lower, rel=0.05)
    naive = bootstrap_interval(np.repeat(patients, 20), np.array(["one"] * 80))
    assert naive.upper - naive.lower < 0.5 * (often.upper - often.lower)


def test_one_patient_allows_no_inference_between_patients():
    interval = bootstrap_interval(np.array([0.1, 0.2, 0.3]), np.array(["a"] * 3))
    assert not interval.between_groups
    assert (interval.n_groups, interval.mean) == (1, pytest.approx(0.2))


def test_of_one_patient_it_is_the_interval_of_student():
    values = np.array([0.1, 0.2, 0.25, 0.5])
    interval = bootstrap_interval(values, np.array(["a"] * 4), level=0.9, n_resamples=100_000)
    expected = stats.t.interval(0.9, 3, values.mean(), stats.sem(values))
    assert (interval.lower, interval.upper) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("n_patients", "n_sections"), [(1, 2), (1, 4), (2, 2), (4, 1), (4, 3), (20, 3)])
def test_it_covers_as_often_as_it_says_with_few_units_too(n_patients, n_sections):
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(n_patients).astype(str), n_sections)
    covered = []
    for trial in range(400):
        between = random.normal(size=n_patients) if n_patients > 1 else np.zeros(1)
        values = np.repeat(between, n_sections) + random.normal(size=len(groups))
        interval = bootstrap_interval(values, groups, level=0.9, n_resamples=400, random_state=trial)
        covered.append(interval.lower <= 0 <= interval.upper)
    # A little more is on the safe side: sections within a patient are resampled on top of the patients.
    assert 0.86 <= np.mean(covered) <= 0.995


def test_patients_of_different_size_are_drawn_whole():
    """A patient of three sections and one of a single one: means of the resampled are weighted by sections."""
    values, groups = np.array([1.0, 1.0, 1.0, 0.0]), np.array(list("aaab"))
    interval = bootstrap_interval(values, groups, level=0.9, n_resamples=100_000)
    # Draws: both a (1), both b (0), one of each (3/4, twice).
    error = np.std([1, 0, 0.75, 0.75]) * np.sqrt(2)
    assert interval.upper - interval.mean == pytest.approx(stats.t.ppf(0.95, 1) * error, rel=0.02)


def test_a_seed_decides_and_a_single_section_has_no_interval():
    values, groups = np.arange(6.0), np.array(list("aabbcc"))
    assert bootstrap_interval(values, groups) == bootstrap_interval(values, groups)
    one = bootstrap_interval(np.array([0.4]), np.array(["a"]))
    assert one.mean == 0.4
    assert np.isnan([one.lower, one.upper]).all()


@pytest.mark.parametrize(
    ("values", "groups", "level"), [([], [], 0.9), ([1.0], ["a", "b"], 0.9), ([1.0], ["a"], 90), ([np.nan], ["a"], 0.9)]
)
def test_bad_input(values, groups, level):
    with pytest.raises(ValueError, match=r"one group for each|must lie between|not finite"):
        bootstrap_interval(np.array(values), np.array(groups), level=level)
