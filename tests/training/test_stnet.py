import numpy as np
import pytest
import torch
from torch import nn

from bleep_sc.models.encoders import load_encoder
from bleep_sc.models.stnet import predict, stnet_loss
from bleep_sc.training.baseline_configs import StNetConfig
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.stnet import _Score, fit_stnet
from bleep_sc.training.validation import folds, monitored_genes, validation_score


@pytest.fixture
def linked():
    """Features that determine expression linearly, with noise, on three slides."""
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (120, 6)).astype(np.float32)
    expression = (features @ rng.normal(size=(6, 10)) + rng.normal(0, 4, (120, 10))).astype(np.float32)
    return Pairs(features, expression), np.repeat(["a", "b", "c"], 40)


def run(pairs, groups, seed=0, encoder=None, **config):
    config = StNetConfig(**{"learning_rates": (1e-2,), "max_epochs": 8, **config})
    return fit_stnet(
        pairs, groups, units=groups, config=config, encoder=encoder, random_state=seed, show_progress_bar=False
    )


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_paper_is_the_published_recipe():
    paper = StNetConfig.paper()
    assert (paper.learning_rates, paper.momentum, paper.batch_size) == ((1e-6,), 0.9, 32)
    assert (paper.max_epochs, paper.n_folds) == (50, 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rates", ()),
        ("learning_rates", (1e-3, 0.0)),
        ("momentum", 1.0),
        ("batch_size", 0),
        ("max_epochs", 0),
        ("n_folds", 1),
    ],
)
def test_what_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"StNetConfig.{field}="):
        StNetConfig(**{field: value})


def test_folds_keep_slides_whole_and_hold_every_spot_out_once():
    groups = np.random.default_rng(0).permutation(np.repeat(list("abcdef"), 5))
    held_out = folds(groups, 4, random_state=0)
    assert len(held_out) == 4
    np.testing.assert_array_equal(np.sum(held_out, axis=0), 1)
    for slide in "abcdef":
        assert sum(fold[groups == slide].any() for fold in held_out) == 1
    assert len(folds(np.repeat(["a", "b"], 9), 4, 0)) == 2
    single = folds(np.full(10, "a"), 4, random_state=0)
    np.testing.assert_array_equal(np.sum(single, axis=0), 1)
    assert sorted(map(np.count_nonzero, single)) == [2, 2, 3, 3]
    with pytest.raises(ValueError, match="needs several spots"):
        folds(np.array(["a"]), 4, 0)


def test_a_step_is_momentum_descent_on_the_summed_loss(linked):
    """Whole-batch training by hand: the gradient of the sum of squares over G, from the mean on."""
    pairs, groups = linked
    trained = run(pairs, groups, learning_rates=(1e-4,), max_epochs=4, batch_size=120)
    x = ((pairs.images - pairs.images.mean(axis=0)) / pairs.images.std(axis=0)).astype(np.float64)
    y, weight, bias = pairs.expression.astype(np.float64), np.zeros((10, 6)), pairs.expression.mean(axis=0, dtype="f8")
    velocity = [0.0, 0.0]
    for epoch in range(len(trained.history["loss"])):
        error = x @ weight.T + bias - y
        np.testing.assert_allclose(trained.history["loss"][epoch], (error**2).sum() / 10, rtol=1e-4)
        gradients = (2 / 10 * error.T @ x, 2 / 10 * error.sum(axis=0))
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        weight, bias = weight - 1e-4 * velocity[0], bias - 1e-4 * velocity[1]
    np.testing.assert_allclose(predict(trained.module, pairs.images), x @ weight.T + bias, rtol=1e-3, atol=1e-3)


def test_the_loss_starts_at_that_of_the_mean(linked):
    pairs, groups = linked
    loss = run(pairs, groups, learning_rates=(1e-12,), max_epochs=1, batch_size=120).history["loss"]
    mean = torch.from_numpy(np.tile(pairs.expression.mean(axis=0), (120, 1)))
    assert loss[0] == pytest.approx(float(stnet_loss(mean, torch.from_numpy(pairs.expression))), rel=1e-4)


def test_rate_and_epochs_are_those_that_predict_held_out_slides_best(linked):
    """The choice, by a slow loop over rates, epochs and slides."""
    pairs, groups = linked
    rates, n_epochs = (1e-5, 3e-3), 4
    trained = run(pairs, groups, learning_rates=rates, max_epochs=n_epochs)
    slow = np.zeros((2, n_epochs))
    for i, rate in enumerate(rates):
        for slide in "abc":
            rest, held_out = pairs[groups != slide], pairs[groups == slide]
            genes = monitored_genes(rest.expression, groups[groups != slide])
            for epoch in range(n_epochs):
                model = train_for(rest, rate, epoch + 1)
                slow[i, epoch] += (
                    validation_score(predict(model, held_out.images)[:, genes], held_out.expression[:, genes]) / 3
                )
    np.testing.assert_allclose(trained.history["validation_pearson"], slow, atol=1e-6)
    rate, epoch = np.unravel_index(slow.argmax(), slow.shape)
    assert (trained.params["learning_rate"], len(trained.history["loss"])) == (rates[rate], epoch + 1)
    assert torch.equal(weights(trained.module), weights(train_for(pairs, rates[rate], int(epoch) + 1)))


def train_for(pairs, rate, n_epochs):
    from bleep_sc.training.stnet import _train

    config = StNetConfig()
    common = {"encoder": None, "random_state": 0, "device": "cpu", "show_progress_bar": False}
    return _train(pairs, rate, n_epochs, config=config, **common)[0]


def test_a_seed_decides_everything_and_leaves_the_users_alone(linked):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (run(*linked, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(weights(first.module), weights(second.module))
    assert not torch.equal(weights(first.module), weights(other.module))
    assert torch.equal(torch.rand(3), expected)


def test_a_rate_that_diverges_is_not_chosen_and_alone_it_is_refused(linked):
    trained = run(*linked, learning_rates=(1e-3, 1e30))
    assert trained.params["learning_rate"] == 1e-3
    np.testing.assert_array_equal(trained.history["validation_pearson"][1], -1)
    with pytest.raises(ValueError, match=r"ST-Net diverged with StNetConfig.learning_rates=\(1e\+30,\); pass smaller"):
        run(*linked, learning_rates=(1e30,))


def test_a_slide_that_does_not_vary_counts_as_zero(linked):
    pairs, groups = linked
    pairs.expression[groups == "b"] = 1.0
    trained = run(pairs, groups)
    assert np.isfinite(trained.history["validation_pearson"]).all()
    assert np.isfinite(predict(trained.module, pairs.images)).all()


def test_one_slide_holds_spots_out(linked):
    pairs, _ = linked
    assert run(pairs, np.full(120, "a")).history["validation_pearson"].max() > 0.5


def test_every_layer_of_the_encoder_is_trained_on_a_copy():
    rng = np.random.default_rng(0)
    brightness = rng.uniform(40, 215, 60)
    patches = np.broadcast_to(brightness[:, None, None, None], (60, 8, 8, 3)).astype(np.uint8)
    expression = np.column_stack([brightness / 50, rng.normal(size=60)]).astype(np.float32)
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder = load_encoder(nn.Sequential(*layers), transform=nn.Identity())
    before = {name: parameter.clone() for name, parameter in encoder.named_parameters()}
    pairs, groups = Pairs(patches, expression), np.repeat(["a", "b"], 30)
    trained = run(pairs, groups, encoder=encoder, learning_rates=(3e-3,), max_epochs=20, batch_size=8)
    assert np.corrcoef(predict(trained.module, patches)[:, 0], brightness)[0, 1] > 0.9
    assert all(torch.equal(encoder.get_parameter(name), value) for name, value in before.items())
    after = dict(trained.module.encoder.named_parameters())
    assert all(not torch.equal(after[name], value) for name, value in before.items() if name != "network.0.bias")
    with pytest.raises(ValueError, match="pass encoder="):
        run(pairs, groups)


def test_genes_to_judge_by_are_chosen_without_the_slides_that_are_held_out():
    rng = np.random.default_rng(0)
    slides = np.repeat(["a", "b"], 20)
    expression = rng.normal(size=(40, 60)).astype(np.float32)
    expression[:20, :10] = 0  # what varies on b alone
    expression[20:, 50:] = 0
    pairs, scores = Pairs(np.zeros((40, 3), dtype=np.float32), expression), np.zeros(1)
    assert sorted(_Score(pairs, slides, slides == "b", scores, "cpu").genes) == list(range(10, 60))
    assert sorted(_Score(pairs, slides, slides == "a", scores, "cpu").genes) == list(range(50))
