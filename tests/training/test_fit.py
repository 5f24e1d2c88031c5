import numpy as np
import pytest
import torch
from torch import nn

from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.losses import bleep_loss
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs


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
    model, loss = run(pairs, groups, max_epochs=80, views=("scaled",))
    assert loss[-1] < 0.7 * loss[0]
    image, expression = embed_images(model, pairs.images, groups), embed_expression(model, pairs.expression)
    rank = (image @ expression.T).argsort(axis=1)[:, ::-1]
    position = np.array([int(np.flatnonzero(rank[i] == i)[0]) for i in range(len(rank))])
    assert np.median(position) < 5


def test_a_seed_decides_everything_and_leaves_the_users_alone(linked):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (run(*linked, seed=seed, max_epochs=3)[0] for seed in (0, 0, 1))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(torch.rand(3), expected)


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
    model, loss = fit_bleep(pairs, groups, config=FitConfig(max_epochs=20), encoder=encoder, show_progress_bar=False)
    assert loss[-1] < loss[0]
    assert not torch.equal(weights(model.encoder), before)
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


def test_embeddings_do_not_depend_on_the_batches(linked, monkeypatch):
    pairs, groups = linked
    model, _ = run(pairs, groups, max_epochs=2)
    image, expression = embed_images(model, pairs.images, groups), embed_expression(model, pairs.expression)
    monkeypatch.setattr("bleep_sc.models.embed.FEATURES", 7)
    monkeypatch.setattr("bleep_sc.models.embed.PROFILES", 7)
    np.testing.assert_allclose(embed_images(model, pairs.images, groups), image, atol=1e-5)
    np.testing.assert_allclose(embed_expression(model, pairs.expression), expression, atol=1e-5)


def test_features_in_units_of_their_slide_forget_stain_and_scanner(linked):
    pairs, groups = linked
    pairs, groups = Pairs(np.tile(pairs.images, (10, 1)), np.tile(pairs.expression, (10, 1))), np.tile(groups, 10)
    scale = 1 + np.arange(3, dtype=np.float32)[np.searchsorted(["a", "b", "c"], groups)][:, None]
    stained = Pairs(pairs.images * scale + 2 * scale, pairs.expression)
    model, _ = run(pairs, groups, max_epochs=5, views=("scaled",))
    other, _ = run(stained, groups, max_epochs=5, views=("scaled",))
    one, two = (embed_images(m, p.images, groups) for m, p in ((model, pairs), (other, stained)))
    cosine = (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosine.min() > 0.9  # the moments are shrunk, so not quite the same
    raw, _ = run(pairs, groups, max_epochs=5, views=("raw",))
    one, two = (embed_images(raw, p.images, groups) for p in (pairs, stained))
    cosine = (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert cosine.min() < 0


def test_principal_components_are_folded_into_a_model_of_features(linked):
    pairs, groups = linked
    model, _ = run(pairs, groups, max_epochs=30, views=("scaled",), n_components=4)
    assert model.n_features == pairs.images.shape[1]
    whole = run(pairs, groups, max_epochs=30, views=("scaled",), n_components=None)[0]
    rank = (embed_images(model, pairs.images, groups) @ embed_expression(model, pairs.expression).T).argsort(axis=1)
    near = [int(np.flatnonzero(rank[i][::-1] == i)[0]) for i in range(len(rank))]
    assert np.median(near) < 10
    assert not torch.equal(weights(whole), weights(model))


@pytest.mark.parametrize("config", [{}, {"views": ("raw",)}, {"views": ("components", "scaled"), "n_components": 4}])
def test_batches_are_taken_from_rows_that_are_whole_in_memory(linked, config, monkeypatch):
    """Indexing genes by their numbers leaves columns together, and gathering rows of those takes ten times as long."""
    pairs, groups = linked
    columns = Pairs(np.asfortranarray(pairs.images), np.asfortranarray(pairs.expression))
    taken, batch = [], Pairs.batch

    def watched(self, rows):
        taken.append((self.images.flags.c_contiguous, self.expression.flags.c_contiguous))
        return batch(self, rows)

    monkeypatch.setattr(Pairs, "batch", watched)
    model, _ = run(columns, groups, max_epochs=1, **config)
    assert set(taken) == {(True, True)}
    again, _ = run(pairs, groups, max_epochs=1, **config)
    torch.testing.assert_close(weights(model), weights(again), rtol=1e-3, atol=1e-4)


def test_pairs_of_heads_are_models_of_their_own(linked):
    pairs, groups = linked
    model, _ = run(pairs, groups, max_epochs=30, views=("scaled",) * 2)
    image, expression = embed_images(model, pairs.images, groups), embed_expression(model, pairs.expression)
    assert image.shape == expression.shape == (240, 512)
    first, second = np.split(image, 2, axis=1)
    assert not np.allclose(first, second)
    for part in (slice(0, 256), slice(256, 512)):
        rank = (image[:, part] @ expression[:, part].T).argsort(axis=1)[:, ::-1]
        assert np.median([int(np.flatnonzero(rank[i] == i)[0]) for i in range(len(rank))]) < 15


@pytest.fixture
def as_trained(monkeypatch):
    """Models with their gradients, as the last step left them."""
    monkeypatch.setattr("bleep_sc.training.fit.whole", lambda model, *_: model)


@pytest.mark.usefixtures("as_trained")
def test_pairs_of_heads_share_a_sum_and_no_gradient(linked):
    pairs, groups = linked
    how = {"dropout": 0.0, "views": ("raw",) * 3, "learning_rate": 1e-12, "batch_size": 240}
    model, (reported,) = run(pairs, groups, max_epochs=1, temperature=2.0, **how)  # as it was drawn
    images, expression = torch.from_numpy(pairs.images), torch.from_numpy(pairs.expression)
    losses = []
    for heads in model.models:
        parameters = list(heads.parameters())
        trained = [parameter.grad for parameter in parameters]
        loss = bleep_loss(*heads(images, expression), 2.0)
        torch.testing.assert_close(trained, list(torch.autograd.grad(loss, parameters)), rtol=1e-3, atol=1e-6)
        losses.append(loss.item())
    assert reported == pytest.approx(sum(losses), rel=1e-5)


@pytest.mark.usefixtures("as_trained")
def test_a_step_is_that_of_adamw(linked):
    how = {"dropout": 0.0, "views": ("raw", "components"), "batch_size": 240, "max_epochs": 1}
    drawn, _ = run(*linked, learning_rate=1e-12, **how)
    moved, _ = run(*linked, learning_rate=0.01, weight_decay=0.5, **how)
    for before, after in zip(drawn.parameters(), moved.parameters(), strict=True):
        clear = before.grad.abs() > 1e-4  # the first step is as long for any gradient
        step = -0.01 * before.grad.sign() - 0.01 * 0.5 * before
        torch.testing.assert_close((after - before)[clear], step[clear], rtol=0, atol=1e-5)


def test_there_may_be_several_pairs_of_heads_of_every_view(linked):
    pairs, groups = linked
    several, _ = run(pairs, groups, max_epochs=2, n_dims=8, views=("raw", "scaled"), n_models=2)
    spelled_out, _ = run(pairs, groups, max_epochs=2, n_dims=8, views=("raw", "scaled", "raw", "scaled"))
    assert several.views == spelled_out.views
    assert torch.equal(weights(several), weights(spelled_out))
    assert not torch.equal(*(several.image_heads[head].projection.weight for head in (0, 2)))
