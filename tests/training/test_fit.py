import numpy as np
import pytest
import torch
from torch import nn

from bleep_sc.models.encoders import load_encoder
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import Pairs, _EpochSearch, embed_expression, embed_images, fit_bleep


@pytest.fixture
def linked():
    """Features and expression that share a two-dimensional cause, on three slides."""
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(240, 2))
    features = (cause @ rng.normal(size=(2, 10)) + 0.1 * rng.normal(size=(240, 10))).astype(np.float32)
    expression = (cause @ rng.normal(size=(2, 20)) + 0.1 * rng.normal(size=(240, 20))).astype(np.float32)
    return Pairs(features, expression), np.repeat(["a", "b", "c"], 80)


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def run(pairs, groups, seed=0, **config):
    return fit_bleep(pairs, groups, config=FitConfig(**config), random_state=seed, show_progress_bar=False)


def test_pairs_end_up_nearest_to_each_other(linked):
    pairs, groups = linked
    trained = run(pairs, groups, max_epochs=80, early_stopping=False)
    assert trained.loss[-1] < 0.7 * trained.loss[0]
    image, expression = embed_images(trained.model, pairs.images), embed_expression(trained.model, pairs.expression)
    rank = (image @ expression.T).argsort(axis=1)[:, ::-1]
    position = np.array([int(np.flatnonzero(rank[i] == i)[0]) for i in range(len(rank))])
    assert np.median(position) < 5


def test_a_seed_decides_everything_and_leaves_the_users_alone(linked):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (run(*linked, seed=seed, max_epochs=3, early_stopping=False) for seed in (0, 0, 1))
    assert torch.equal(weights(first.model), weights(second.model))
    assert not torch.equal(weights(first.model), weights(other.model))
    assert torch.equal(torch.rand(3), expected)


def test_early_stopping_holds_a_slide_out_and_then_trains_on_all(linked):
    trained = run(*linked, max_epochs=60, patience=10)
    assert trained.validation_group in {"a", "b", "c"}
    assert 1 <= len(trained.loss) <= len(trained.validation_pearson) <= 60
    assert max(trained.validation_pearson) > 0.8
    on_all = run(*linked, max_epochs=len(trained.loss), early_stopping=False)
    assert torch.equal(weights(trained.model), weights(on_all.model))


def test_one_slide_cannot_be_held_out(linked):
    pairs, _ = linked
    trained = run(pairs, np.full(240, "a"), max_epochs=4)
    assert trained.validation_group is None
    assert len(trained.loss) == 4


def test_patches_train_their_encoder():
    rng = np.random.default_rng(0)
    brightness = rng.uniform(40, 215, 60)
    patches = np.broadcast_to(brightness[:, None, None, None], (60, 8, 8, 3)).astype(np.uint8)
    expression = np.column_stack([brightness / 100, rng.normal(size=60)]).astype(np.float32)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder = load_encoder(network, transform=nn.Identity())
    before = weights(encoder).clone()
    pairs, groups = Pairs(patches, expression), np.full(60, "a")
    trained = fit_bleep(pairs, groups, config=FitConfig(max_epochs=20), encoder=encoder, show_progress_bar=False)
    assert trained.loss[-1] < trained.loss[0]
    assert not torch.equal(weights(trained.model.encoder), before)
    assert torch.equal(weights(encoder), before)  # the one given is not changed
    with pytest.raises(ValueError, match="pass encoder="):
        fit_bleep(pairs, groups, config=FitConfig(), show_progress_bar=False)


def test_stain_jitter_reaches_the_encoder():
    seen = []

    class Watch(nn.Module):
        def forward(self, images):
            seen.append(images.detach().clone())
            return images.mean(dim=(2, 3))

    patches = np.full((12, 4, 4, 3), 150, dtype=np.uint8)
    pairs = Pairs(patches, np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32))
    encoder = load_encoder(Watch(), transform=nn.Identity())
    for strength in (0.0, 0.3):
        seen.clear()
        config = FitConfig(max_epochs=1, train_encoder=True, stain_jitter=strength)
        fit_bleep(pairs, np.full(12, "a"), config=config, encoder=encoder, show_progress_bar=False)
        trained_on = seen[-1]
        assert (len(trained_on.flatten(1).unique(dim=0)) > 1) == (strength > 0)


def test_embeddings_do_not_depend_on_the_batches(linked):
    pairs, groups = linked
    model = run(pairs, groups, max_epochs=2, early_stopping=False).model
    whole, parts = (embed_images(model, pairs.images, batch_size=size) for size in (256, 7))
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    whole, parts = (embed_expression(model, pairs.expression, batch_size=size) for size in (256, 7))
    np.testing.assert_allclose(whole, parts, atol=1e-5)


@pytest.mark.parametrize("patience", [1, 5, 10])
def test_scores_that_keep_rising_are_followed_to_the_end(linked, patience):
    search = _EpochSearch(*linked, "a", FitConfig(patience=patience), "cpu")
    for epoch in range(1, 31):
        search.pearson.append(0.02 * epoch)
        assert search.best_epoch == epoch


def test_the_end_of_a_plateau_is_found(linked):
    search = _EpochSearch(*linked, "a", FitConfig(), "cpu")
    search.pearson = [0.01 * epoch for epoch in range(30)] + [0.3] * 40 + [0.3 - 0.01 * epoch for epoch in range(30)]
    assert 66 <= search.best_epoch <= 76
