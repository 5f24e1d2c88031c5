"""The numbers of benchmarks/donors.py, each against a slow and obvious version."""

from functools import partial
from types import SimpleNamespace

import donor_methods
import donors
import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs


@pytest.fixture
def part():
    random = np.random.default_rng(0)
    truth = random.normal(size=(30, 6))
    truth[:, 4] = 0.0  # a gene that does not vary there
    return SimpleNamespace(truth=truth, variable=np.array([0, 2, 4]), known=random.normal(size=(40, 6)))


def test_resampled_correlations_are_those_of_repeated_spots(part):
    found = {"values": part.truth + np.random.default_rng(1).normal(size=part.truth.shape)}
    spots = np.arange(3, 27)
    means = donors.resampled(part, found, "B4", spots)
    assert means.shape == (donors.N_RESAMPLES,)
    seed = int.from_bytes(donors.hashlib.sha256(b"B4").digest()[:4], "little")
    times = np.random.default_rng(seed).multinomial(len(spots), np.full(len(spots), 1 / len(spots)), donors.N_RESAMPLES)
    for draw in (0, 17):
        rows = np.repeat(spots, times[draw])
        r = bs.metrics.pearson(found["values"][rows][:, part.variable], part.truth[rows][:, part.variable])
        assert means[draw] == pytest.approx(np.nan_to_num(r).mean(), abs=1e-9)
    np.testing.assert_array_equal(means, donors.resampled(part, found, "B4", spots))


def test_promises_are_counted_on_the_genes_that_they_were_made_of(part):
    found = {"values": part.truth.copy(), "promised": np.array([0.9, np.nan, 0.5, 0.1, 0.4, 0.2])}
    found["values"][:, 2] *= -1
    numbers = donors.scores(part, found, "B4", np.arange(30))
    assert numbers["promised"] == pytest.approx(np.nanmean(found["promised"]))
    assert numbers["reached"] == pytest.approx((1 - 1 + 1 + 0 + 1) / 5)
    assert numbers["trusted"] == 3
    assert numbers["false trust"] == pytest.approx(2 / 3)  # one is inverted, and one does not vary
    assert numbers["HVG"] == pytest.approx((1 - 1 + 0) / 3)
    assert "score" not in numbers


def test_the_default_is_compared_seed_by_seed_and_spot_by_spot():
    def measured(values):
        table = pd.DataFrame({"seed": range(len(values)), "slide": "B4", "HVG": values})
        return donors.Measured(table, np.full(donors.N_RESAMPLES, np.mean(values)))

    default, other = measured([0.30, 0.34]), measured([0.28, 0.32])
    assert donors.difference(default, other) == {
        "default ahead by": "+.020",
        "over spots": "[+.020, +.020]",
        "over seeds": "[+.020, +.020]",
    }
    once = donors.difference(default, measured([0.42]))
    assert once["default ahead by"] == "−.100"
    assert once["over seeds"] == "[−.354, +.154]"
    assert donors.difference(measured([0.3]), measured([0.2]))["over seeds"] == ""


def test_a_run_is_kept_and_one_of_another_configuration_is_another(tmp_path):
    calls = []

    def predict(part, seed, *, level):
        calls.append((seed, level))
        return {"values": np.full((2, 2), level + seed)}

    part = SimpleNamespace(fingerprint="f", query=SimpleNamespace(obs=pd.DataFrame({"library_id": ["B4", "B4"]})))
    for level in (1.0, 1.0, 2.0):
        row = donor_methods.Row(partial(predict, level=level))
        assert donor_methods.run(part, "mine", row, 3, tmp_path)["values"][0, 0] == level + 3
    assert calls == [(3, 1.0), (3, 2.0)]
