"""What is learnt from slides as a whole: profiles, tiles, and how long to train."""

import dataclasses
import logging

import dask.array as da
import numpy as np
import pytest
import torch

from bleep_sc.models.he2rna import predict
from bleep_sc.training import he2rna, slide_level
from bleep_sc.training.he2rna import fit_he2rna
from bleep_sc.training.hist2rna import fit_hist2rna
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.slide_configs import HE2RNAConfig, Hist2RNAConfig
from bleep_sc.training.slide_pairs import (
    Bag,
    SlidePairs,
    TileStats,
    moments,
    profile,
    slides_of_spots,
    supertiles,
)

QUIET = {"show_progress_bar": False}
HE2RNA_QUICK = HE2RNAConfig(n_hidden=16, max_epochs=3, n_folds=2)
METHODS = [
    pytest.param(fit_he2rna, HE2RNA_QUICK, id="he2rna"),
    pytest.param(fit_hist2rna, Hist2RNAConfig(n_hidden=8, max_epochs=3, n_folds=2), id="hist2rna"),
]


def made_up(n_slides, n_tiles=12, seed=0):
    """Slides with more or fewer tiles of a kind that the first feature shows and the first gene is high in."""
    random = np.random.default_rng(seed)
    kinds = random.random((n_slides, n_tiles)) < random.random((n_slides, 1))
    features = random.normal(size=(n_slides * n_tiles, 4)).astype(np.float32)
    features[:, 0] = kinds.ravel() + 0.1 * features[:, 0]
    truth = np.stack([3.0 * kinds.ravel(), np.full(kinds.size, 1.0)], axis=1)
    names = np.array([f"s{i:02d}" for i in range(n_slides)])
    bags = [Bag(name, [features], np.arange(i * n_tiles, (i + 1) * n_tiles)) for i, name in enumerate(names.tolist())]
    means = truth.reshape(n_slides, n_tiles, 2).mean(axis=1)
    return SlidePairs(bags, means.astype(np.float32)), names, features, truth


@pytest.mark.parametrize(
    ("fit", "config"),
    [
        (fit_he2rna, HE2RNAConfig(n_hidden=16, learning_rate=1e-2, max_epochs=20, n_folds=2)),
        (fit_hist2rna, Hist2RNAConfig(n_hidden=16, learning_rate=3e-3, max_epochs=40, n_folds=2)),
    ],
    ids=["he2rna", "hist2rna"],
)
def test_tiles_are_told_apart_by_slides_alone(fit, config):
    pairs, names, *_ = made_up(24)
    learnt = fit(pairs, names, units=names, config=config, **QUIET)
    _, _, tiles, truth = made_up(6, seed=1)
    predicted = predict(learnt.module, tiles)
    assert np.corrcoef(predicted[:, 0], truth[:, 0])[0, 1] > 0.8
    assert learnt.history["validation_pearson"].shape == (config.max_epochs,)
    assert learnt.params["n_epochs"] == learnt.history["validation_pearson"].argmax() + 1 == len(learnt.history["loss"])


@pytest.mark.parametrize("base", [np.e, 2.0, 10.0])
def test_a_profile_is_the_logarithm_of_the_mean(base):
    linear = np.random.default_rng(0).gamma(1.0, 5.0, (6, 3))
    values = np.log1p(linear) / np.log(base)
    expected = [np.log(1 + sum(column) / 6) / np.log(base) for column in linear.T]
    np.testing.assert_allclose(profile(values, base), expected, rtol=1e-6)


def test_slides_of_spots_hold_their_own_tiles_and_profile():
    random = np.random.default_rng(0)
    values, slides = random.random((7, 2)).astype(np.float32), np.array(list("baabbab"))
    pairs = Pairs(random.random((7, 3)).astype(np.float32), values)
    whole = slides_of_spots(pairs, slides, base=np.e, centers=random.random((7, 2)))
    assert [bag.name for bag in whole.bags] == ["a", "b"]
    np.testing.assert_array_equal(whole.bags[0].read(), pairs.images[slides == "a"])
    np.testing.assert_allclose(whole.expression[1], np.log1p(np.expm1(values[slides == "b"]).mean(axis=0)), rtol=1e-6)


def test_statistics_are_those_of_tiles_where_every_slide_counts_alike(monkeypatch):
    monkeypatch.setattr("bleep_sc.training.slide_pairs.READ_AT_ONCE", 3)
    random = np.random.default_rng(0)
    parts = [random.normal(i, 1 + i, (n, 2)).astype(np.float32) for i, n in enumerate((4, 11))]
    parts = [np.column_stack([part, np.full(len(part), 5.0, dtype=np.float32)]) for part in parts]
    mean, std = moments([TileStats.of(Bag("s", [part], np.arange(len(part)))) for part in parts])
    weights = np.repeat([1 / 4, 1 / 11], (4, 11)) / 2
    tiles = np.concatenate(parts).astype(np.float64)
    expected = weights @ tiles
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    np.testing.assert_allclose(std[:2], np.sqrt(weights @ np.square(tiles - expected))[:2], rtol=1e-6)
    assert std[2] == 1


def test_supertiles_are_means_over_neighbours():
    random = np.random.default_rng(0)
    centers = np.repeat([[0.0, 0.0], [900.0, 0.0], [0.0, 900.0]], 5, axis=0) + random.random((15, 2))
    features = random.normal(size=(15, 4)).astype(np.float32)
    fewer = supertiles(Bag("s", [features], np.arange(15), centers), 3, 0).read()
    expected = features.reshape(3, 5, 4).mean(axis=1)
    np.testing.assert_allclose(fewer[np.argsort(fewer[:, 0])], expected[np.argsort(expected[:, 0])], atol=1e-6)
    assert len(supertiles(Bag("s", [features], np.arange(2), centers[:2]), 100, 0)) == 2
    with pytest.raises(ValueError, match=r"n_supertiles=3 .*slide 's'.*obsm\['spatial'\]"):
        supertiles(Bag("s", [features], np.arange(15)), 3, 0)


def test_a_share_is_drawn_in_training_and_all_are_averaged_afterwards():
    of, generator = (0.1, 0.5, 1.0), torch.Generator().manual_seed(0)
    drawn = [he2rna.shares(of, generator) for _ in range(200)]
    counts = [drawn.count((share,)) for share in of]
    assert sum(counts) == 200
    assert min(counts) > 40
    assert he2rna.shares(of, None) == of


def test_no_more_tiles_are_read_than_allowed_and_others_in_the_next_epoch(monkeypatch):
    pairs, names, *_ = made_up(4, n_tiles=30)
    read, before = [], Bag.read

    def watched(self, some=slice(None)):
        result = before(self, some)
        read.append((len(result), np.arange(len(self))[some].tolist()))
        return result

    monkeypatch.setattr(slide_level, "LEAST_IN_FOLD", 99)
    monkeypatch.setattr("bleep_sc.training.slide_pairs.READ_AT_ONCE", 7)
    monkeypatch.setattr(Bag, "read", watched)
    fit_he2rna(pairs, names, units=names, config=dataclasses.replace(HE2RNA_QUICK, max_tiles=7), **QUIET)
    assert max(n for n, _ in read) == 7
    in_epochs = read[-12:]  # three of four slides
    assert len({tuple(rows) for _, rows in in_epochs}) == 12
    assert all(rows == sorted(set(rows)) for _, rows in in_epochs)


@pytest.mark.parametrize(("fit", "config"), METHODS)
def test_a_seed_and_no_order_of_tiles_decides(fit, config):
    pairs, names, features, _ = made_up(16)
    order = np.random.default_rng(1).permutation(len(features))
    place = np.argsort(order)
    moved = [Bag(bag.name, [da.from_array(features[order], chunks=50)], np.sort(place[bag.rows])) for bag in pairs.bags]
    given = [pairs, pairs, SlidePairs(moved, pairs.expression)]
    state = torch.get_rng_state()
    models = [fit(each, names, units=names, config=config, **QUIET) for each in given]
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (predict(each.module, features) for each in models)
    np.testing.assert_array_equal(one, same)
    if fit is fit_hist2rna:  # dropout of HE2RNA falls on other tiles
        np.testing.assert_allclose(one, other, atol=1e-4)
    different = fit(pairs, names, units=names, config=config, random_state=1, **QUIET)
    assert not np.array_equal(one, predict(different.module, features))


@pytest.mark.parametrize(("fit", "config"), METHODS)
def test_donors_are_held_out_as_a_whole(fit, config, monkeypatch):
    pairs, names, *_ = made_up(20)
    donors, seen, train = np.repeat([f"d{i}" for i in range(10)], 2), [], slide_level.SlideLevel._train

    def watched(self, of, n_epochs, *, held_out=None, scores=None):
        seen.append([{bag.name for bag in part.bags} for part in (of, held_out or SlidePairs([], np.empty((0, 2))))])
        return train(self, of, n_epochs, held_out=held_out, scores=scores)

    monkeypatch.setattr(slide_level.SlideLevel, "_train", watched)
    fit(pairs, names, units=donors, config=config, **QUIET)
    of = dict(zip(names.tolist(), donors.tolist(), strict=True))
    assert len(seen) == 3
    assert seen[-1] == [set(names.tolist()), set()]
    for kept, left in seen[:-1]:
        assert kept | left == set(names.tolist())
        assert not {of[name] for name in kept} & {of[name] for name in left}


@pytest.mark.parametrize(("fit", "config"), METHODS)
def test_few_slides_are_trained_on_for_all_epochs(fit, config, caplog):
    pairs, names, *_ = made_up(7)
    with caplog.at_level(logging.INFO, logger="bleep_sc"):
        learnt = fit(pairs, names, units=names, config=config, **QUIET)
    assert "7 donors or slides are too few to hold some out: trained for 3 epochs" in caplog.text
    assert learnt.params["n_epochs"] == len(learnt.history["loss"]) == 3
    assert set(learnt.history) == {"loss"}


@pytest.mark.parametrize(("fit", "config"), METHODS)
def test_bad_slides(fit, config):
    pairs, names, features, _ = made_up(3)
    with pytest.raises(ValueError, match=r"one slide, 's00'.*bleep_sc\.tl\.fit_ridge"):
        fit(pairs[np.array([True, False, False])], names[:1], units=names[:1], config=config, **QUIET)
    features[17, 2] = np.nan
    with pytest.raises(ValueError, match="features of slide 's01' hold NaN"):
        fit(pairs, names, units=names, config=config, **QUIET)
    features[17, 2] = 0
    with pytest.raises(ValueError, match=r"diverged with \w+Config.learning_rate=1e\+30; pass a smaller one"):
        fit(pairs, names, units=names, config=dataclasses.replace(config, learning_rate=1e30), **QUIET)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (HE2RNAConfig, "shares", ()),
        (HE2RNAConfig, "shares", (0.0, 1.0)),
        (HE2RNAConfig, "dropout", 1.0),
        (HE2RNAConfig, "n_supertiles", 0),
        (HE2RNAConfig, "max_tiles", 0),
        (HE2RNAConfig, "n_layers", 0),
        (Hist2RNAConfig, "n_hidden", 0),
        (Hist2RNAConfig, "learning_rate", 0.0),
        (Hist2RNAConfig, "weight_decay", -1.0),
        (Hist2RNAConfig, "n_folds", 1),
    ],
)
def test_configurations_that_cannot_work_are_refused(kind, field, value):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}\.{field}="):
        kind(**{field: value})
