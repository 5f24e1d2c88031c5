"""How long a training takes is said once, and early."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from bleep_sc.training import estimate, reference
from bleep_sc.training.config import FitConfig
from bleep_sc.training.estimate import Estimate, epochs_in_all, in_words
from bleep_sc.training.pairs import Pairs

UNITS = np.repeat(list("abc"), [50, 30, 20])


@pytest.mark.parametrize(
    ("changes", "trains_encoder", "expected"),
    [
        ({"cross_fit": False}, False, 10),
        ({"views": ("raw",), "n_models": 1}, False, 10 * (1 + 0.5 + 0.7 + 0.8)),
        ({"views": ("raw", "raw", "aligned"), "n_models": 2}, False, 10 * (1 + (0.5 + 0.7 + 0.8) * 2 / 6)),
        ({"views": ("raw",), "n_models": 2}, True, 10 * (1 + 0.5 + 0.7 + 0.8)),
    ],
)
def test_models_that_are_held_out_from_count_by_their_size(changes, trains_encoder, expected):
    config = replace(FitConfig(max_epochs=10), **changes)
    assert epochs_in_all(config, UNITS, 0, trains_encoder=trains_encoder) == pytest.approx(expected)
    assert epochs_in_all(config, UNITS[:50], 0, trains_encoder=trains_encoder) == 10  # nothing to hold out


def test_the_estimate_leaves_out_the_first_epoch(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="bleep_sc")
    clock = iter([100.0, 103.0, 106.0])
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: next(clock))
    told = Estimate(202)
    told.after(1)
    assert not caplog.messages
    told.after(2)
    told.after(3)
    assert caplog.messages == ["An epoch takes 3 s: the training takes about 10 min more."]


def test_times_in_words():
    assert [in_words(each) for each in (5, 90, 3600, 7199, 9000)] == ["1 min", "2 min", "60 min", "2.0 h", "2.5 h"]


def test_a_fit_says_how_long_it_takes_before_it_has_taken_it(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="bleep_sc")
    monkeypatch.setattr(estimate, "LEAST_S", 0)
    rng = np.random.default_rng(0)
    pairs = Pairs(*(rng.normal(size=(100, 4)).astype(np.float32) for _ in range(2)))
    seen = []
    config = FitConfig(max_epochs=4, views=("raw",), n_dims=8, batch_size=32)
    reference.fit_reference(
        pairs,
        UNITS,
        config=config,
        show_progress_bar=False,
        on_epoch_end=lambda n, _: bool(seen.append(len(caplog.messages))),
    )
    assert seen[:4] == [0, 1, 1, 1]  # after the second of four epochs of the first of four models
    assert caplog.messages[0].startswith("An epoch takes ")
    assert sum("the training takes about" in each for each in caplog.messages) == 1
