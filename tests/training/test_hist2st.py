import numpy as np
import pytest
import torch
from scipy import stats

from bleep_sc.models.hist2st import Hist2ST
from bleep_sc.training import hist2st
from bleep_sc.training.hist2st import Objective, architecture, augment, fit_hist2st, size_factors
from bleep_sc.training.hist2st_config import Hist2STConfig
from bleep_sc.training.pairs import Pairs

SMALL = {"tile_size": 4, "n_channels": 8, "kernel_size": 3, "n_mixers": 1, "n_layers": 1, "n_heads": 1, "max_epochs": 3}


@pytest.fixture
def tissue():
    """Two sections of 6 × 6 spots whose expression and counts are how bright their patches are, and noise."""
    rng = np.random.default_rng(0)
    positions = np.stack(np.meshgrid(np.arange(6), np.arange(6), indexing="ij"), axis=-1).reshape(-1, 2)
    bright = rng.uniform(40, 215, 72)
    places = np.tile(positions, (2, 1))
    return {
        "pairs": Pairs(
            np.broadcast_to(bright[:, None, None, None], (72, 8, 8, 3)).astype(np.uint8),
            np.column_stack([bright / 60, rng.normal(size=72)]).astype(np.float32),
        ),
        "slides": np.repeat(["a", "b"], 36),
        "positions": places,
        "centers": 100.0 * places[:, ::-1],
        "counts": rng.poisson(bright[:, None] / [30, 60]).astype(np.float32),
    }


def run(tissue, seed=0, **config):
    return fit_hist2st(
        **tissue, config=Hist2STConfig(**{**SMALL, **config}), random_state=seed, show_progress_bar=False
    )


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_paper_is_the_published_recipe():
    paper = Hist2STConfig.paper()
    sizes = (paper.tile_size, paper.n_channels, paper.kernel_size, paper.n_mixers, paper.n_layers, paper.n_graph_layers)
    assert sizes == (7, 32, 5, 2, 8, 4)
    assert (paper.n_heads, paper.dropout, paper.n_positions, paper.scale_pixels) == (16, 0.2, 64, False)
    assert (paper.zinb_weight, paper.distillation_weight, paper.n_views) == (0.25, 0.5, 5)
    assert (paper.learning_rate, paper.max_epochs, paper.max_spots) == (1e-5, 350, None)
    assert (hist2st.DECAY_EPOCHS, hist2st.DECAY) == (50, 0.9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, 0) for name in ("tile_size", "n_channels", "kernel_size", "n_mixers", "n_layers", "n_graph_layers")),
        *((name, 0) for name in ("n_heads", "n_positions", "n_views", "learning_rate", "max_epochs", "max_spots")),
        ("n_channels", 12),
        ("kernel_size", 4),
        ("zinb_weight", -0.1),
        ("distillation_weight", float("nan")),
        ("dropout", 1.0),
    ],
)
def test_what_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"Hist2STConfig.{field}="):
        Hist2STConfig(**{field: value})


def test_the_loss_is_the_sum_of_its_three_terms(tissue, monkeypatch):
    """In float64, spot by spot and gene by gene, for views that are known."""
    config = Hist2STConfig(**SMALL, n_views=3, zinb_weight=0.7, distillation_weight=0.3)
    torch.manual_seed(0)
    model = Hist2ST(**architecture(tissue["pairs"], tissue["positions"], config))
    objective = Objective(model, config).double().eval()
    patches, positions, centers = (
        torch.from_numpy(each[:36].copy())[None]
        for each in (tissue["pairs"].images, tissue["positions"], tissue["centers"])
    )
    expression, counts = (
        torch.from_numpy(each[:36])[None].double() for each in (tissue["pairs"].expression, tissue["counts"])
    )
    factors = torch.rand(1, 36, 1).double() + 0.5
    views = [(patches.float() * share).to(torch.uint8) for share in (0.9, 0.5, 0.2)]
    waiting = iter(views)
    monkeypatch.setattr(hist2st, "augment", lambda _: next(waiting))
    with torch.no_grad():
        found = objective(patches, positions, centers, expression, counts, factors).item()
        h = model.embed(patches, positions, centers)
        mean, dispersion, zero_logits = (each[0].numpy() for each in objective.zinb(h))
        predicted = model.expression(h)[0].numpy()
        of_views = [model.embed(view, positions, centers) for view in views]
        scores = np.array([objective.view_weight(each)[0, :, 0].numpy() for each in of_views])  # (3, 36)
        read = np.array([model.expression(each)[0].numpy() for each in of_views])  # (3, 36, 2)
    error = likelihood = distance = 0.0
    for spot, gene in np.ndindex(36, 2):
        error += (predicted[spot, gene] - expression[0, spot, gene].item()) ** 2 / 72
        mu, theta = mean[spot, gene] * factors[0, spot, 0].item(), dispersion[spot, gene]
        inflated, x = 1 / (1 + np.exp(-zero_logits[spot, gene])), counts[0, spot, gene].item()
        drawn = (1 - inflated) * stats.nbinom.pmf(x, theta, theta / (theta + mu))
        likelihood -= np.log(drawn + (inflated if x == 0 else 0)) / 72
        share = np.exp(scores[:, spot]) / np.exp(scores[:, spot]).sum()
        distance += (share @ read[:, spot, gene] - predicted[spot, gene]) ** 2 / 72
    assert distance > 1e-6
    np.testing.assert_allclose(found, error + 0.7 * likelihood + 0.3 * distance, rtol=1e-10)


def test_augmented_patches_lose_colours_turn_and_mirror_as_one():
    """A red dot on the right: a tenth of the time it is grey, a fifth on the left, and at any angle up to 90°."""
    one = np.full((41, 41, 3), 50, dtype=np.uint8)
    one[19:22, 34:37] = [250, 100, 100]
    patches = torch.from_numpy(one).expand(1, 2, 41, 41, 3)
    torch.manual_seed(0)
    drawn = torch.cat([augment(patches) for _ in range(400)]).numpy()  # (400, 2, 41, 41, 3)
    assert (drawn[:, 0] == drawn[:, 1]).all()  # all spots of a section alike
    assert 0.05 < (np.ptp(drawn[:, 0].max(axis=(1, 2)), axis=-1) == 0).mean() < 0.15
    dots = drawn[:, 0, :, :, 0] > 80
    y, x = (np.array([np.nonzero(dot)[axis].mean() for dot in dots]) - 20 for axis in (0, 1))
    assert 0.14 < (x < 0).mean() < 0.26
    angle = np.degrees(np.arctan2(y, np.abs(x)))
    assert stats.kstest(angle, stats.uniform(-90, 180).cdf).pvalue > 0.01
    np.testing.assert_allclose(np.hypot(x, y), 15, atol=0.7)


def test_size_factors_are_counts_over_the_median_of_the_slide():
    counts = np.array([[1, 1], [2, 2], [0, 0], [5, 5], [10, 10]], dtype=np.float32)
    slides = np.array(["a", "a", "a", "b", "b"])
    np.testing.assert_allclose(size_factors(counts, slides)[:, 0], [1, 2, 0.5, 10 / 15, 20 / 15])
    np.testing.assert_array_equal(counts[2], 0)


def test_training_is_adam_on_that_loss_with_smaller_and_smaller_steps(tissue, monkeypatch):
    """Four epochs on one section by hand, a tenth less every two."""
    monkeypatch.setattr(hist2st, "DECAY_EPOCHS", 2)
    one = {name: each[:36] for name, each in tissue.items() if name != "pairs"}
    pairs = Pairs(tissue["pairs"].images[:36], tissue["pairs"].expression[:36])
    how = {"dropout": 0.0, "distillation_weight": 0, "learning_rate": 1e-2}
    learnt = run({**one, "pairs": pairs}, max_epochs=4, **how)
    config = Hist2STConfig(**SMALL, **how)
    torch.manual_seed(0)
    objective = Objective(Hist2ST(**architecture(pairs, one["positions"], config)), config).train()
    factors = size_factors(one["counts"], one["slides"])
    arrays = (pairs.images, one["positions"], one["centers"].astype(np.float32), pairs.expression)
    tensors = [torch.from_numpy(np.array(each))[None] for each in (*arrays, one["counts"], factors)]
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for epoch in range(4):
        optimizer.param_groups[0]["lr"] = 1e-2 * 0.9 ** (epoch // 2)
        optimizer.zero_grad()
        value = objective(*tensors)
        assert learnt.history["loss"][epoch] == pytest.approx(value.item(), rel=1e-4)
        value.backward()
        optimizer.step()
    for layer in ("head", "norm"):  # convolutions before a norm have an offset that nothing depends on
        found, expected = (weights(getattr(each, layer)) for each in (learnt.module, objective.model))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert not learnt.module.training


def tumours(n_sections, seed):
    """Sections of 8 × 8 spots with a bright disc somewhere: patches, positions, and how bright the spots are."""
    rng = np.random.default_rng(seed)
    positions = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), axis=-1).reshape(-1, 2)
    inside = [np.hypot(*(positions - rng.uniform(0, 8, 2)).T) < 8 / 3 for _ in range(n_sections)]
    bright = 60 + 150 * np.concatenate(inside) + rng.uniform(-20, 20, 64 * n_sections)
    patches = np.broadcast_to(bright.reshape(-1, 1, 1, 1), (len(bright), 8, 8, 3)).astype(np.uint8)
    return patches, np.tile(positions, (n_sections, 1)), bright


def test_it_learns_what_patches_show():
    """With all parts of the loss; the disc of a new section lies elsewhere, so that places do not tell."""
    patches, positions, bright = tumours(4, seed=0)
    noise = np.random.default_rng(1).normal(size=len(bright))
    expression = np.column_stack([bright / 60, noise]).astype(np.float32)
    counts = np.random.default_rng(2).poisson(bright[:, None] / [30, 60]).astype(np.float32)
    learnt = run(
        {
            "pairs": Pairs(patches, expression),
            "slides": np.repeat(list("abcd"), 64),
            "positions": positions,
            "centers": 100.0 * positions,
            "counts": counts,
        },
        **{"n_channels": 32, "n_graph_layers": 1, "max_epochs": 20, "learning_rate": 3e-3, "dropout": 0.0},
    )
    assert learnt.history["loss"][-1] < 0.6 * learnt.history["loss"][0]
    patches, positions, bright = (each[:64].copy() for each in tumours(1, seed=9))
    with torch.no_grad():
        arrays = (patches, positions, 100.0 * positions)
        predicted = learnt.module(*(torch.from_numpy(each)[None] for each in arrays))[0, :, 0].numpy()
    assert np.corrcoef(predicted, bright)[0, 1] > 0.8


def test_a_seed_decides_everything_and_leaves_the_users_alone(tissue):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (run(tissue, seed, max_spots=10, max_epochs=2).module for seed in (0, 0, 1))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(torch.rand(3), expected)


def test_large_sections_are_learnt_in_windows_of_neighbours(tissue, monkeypatch):
    seen, embed = [], Hist2ST.embed

    def watched(self, patches, positions, centers):
        seen.append(positions[0].numpy().copy())
        np.testing.assert_array_equal(100 * seen[-1][:, ::-1], centers[0])
        return embed(self, patches, positions, centers)

    monkeypatch.setattr(Hist2ST, "embed", watched)
    run(tissue, max_spots=10, max_epochs=2, n_views=2)
    assert len(seen) == 2 * 2 * 4 * (1 + 2)  # epochs, sections, windows of 10 that hold 36; patches and their views
    assert all(window.shape == (10, 2) and np.abs(window - window[0]).sum(axis=1).max() <= 6 for window in seen)
    assert len({tuple(window[0]) for window in seen}) > 8


def test_without_counts_a_warning_says_what_is_left_out(tissue):
    without = {**tissue, "counts": None}
    with pytest.warns(UserWarning, match=r"without the likelihood of raw counts.*Hist2STConfig\(zinb_weight=0\)"):
        learnt = run(without, max_epochs=1)
    assert learnt.params == {"zinb": False}
    asked = run(without, max_epochs=1, zinb_weight=0)  # and no warning
    assert asked.params == {"zinb": False}
    assert torch.equal(weights(learnt.module), weights(asked.module))
    assert torch.equal(weights(run(tissue, max_epochs=1, zinb_weight=0).module), weights(asked.module))
    with_counts = run(tissue, max_epochs=1)
    assert with_counts.params == {"zinb": True}
    assert not torch.equal(weights(with_counts.module), weights(asked.module))


def test_divergence_and_small_patches_are_refused(tissue):
    with pytest.raises(ValueError, match=r"Hist2ST diverged with Hist2STConfig.learning_rate=1e\+30"):
        run(tissue, learning_rate=1e30)
    with pytest.raises(ValueError, match=r"Hist2STConfig.tile_size=14 is more than the 8 px of the patches"):
        run(tissue, tile_size=14)
