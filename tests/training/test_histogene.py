from typing import NamedTuple

import numpy as np
import pytest
import torch

from bleep_sc.models.histogene import HisToGene, predict
from bleep_sc.training.baseline_configs import HisToGeneConfig
from bleep_sc.training.histogene import architecture, fit_histogene
from bleep_sc.training.pairs import Pairs


class Section(NamedTuple):
    patches: np.ndarray
    positions: np.ndarray
    expression: np.ndarray


SMALL = {"n_dims": 16, "n_layers": 1, "n_heads": 2, "max_epochs": 3}


@pytest.fixture
def sections():
    """Two sections of 6 × 6 spots whose expression is the brightness of their patches, and noise."""
    rng = np.random.default_rng(0)
    positions = np.stack(np.meshgrid(np.arange(6), np.arange(6), indexing="ij"), axis=-1).reshape(-1, 2)
    result = []
    for _ in range(2):
        brightness = rng.uniform(40, 215, 36)
        patches = np.broadcast_to(brightness[:, None, None, None], (36, 4, 4, 3)).astype(np.uint8)
        expression = np.column_stack([brightness / 60, rng.normal(size=36)]).astype(np.float32)
        result.append(Section(patches, positions, expression))
    return result


def run(sections, seed=0, **config):
    pairs = Pairs(*(np.concatenate([getattr(each, name) for each in sections]) for name in ("patches", "expression")))
    slides = np.repeat([str(number) for number in range(len(sections))], [len(each.patches) for each in sections])
    learnt = fit_histogene(
        pairs,
        slides,
        positions=np.concatenate([each.positions for each in sections]),
        config=HisToGeneConfig(**{**SMALL, **config}),
        random_state=seed,
        show_progress_bar=False,
    )
    return learnt.module, learnt.history["loss"]


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_paper_is_the_published_recipe(sections):
    paper = HisToGeneConfig.paper()
    assert (paper.n_dims, paper.n_layers, paper.n_heads, paper.dropout, paper.n_positions) == (1024, 8, 16, 0.1, 64)
    assert (paper.learning_rate, paper.max_epochs, paper.scale_pixels, paper.max_spots) == (1e-5, 100, False, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_dims", 0),
        ("n_dims", 30),
        ("n_layers", 0),
        ("n_heads", -1),
        ("dropout", 1.0),
        ("n_positions", 0),
        ("max_spots", 0),
        ("learning_rate", 0.0),
        ("max_epochs", 0),
    ],
)
def test_what_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"HisToGeneConfig.{field}="):
        HisToGeneConfig(**{field: value})


def test_training_is_adam_on_the_mean_squared_error_of_a_section(sections):
    """Two epochs on one section by hand."""
    model, loss = run(sections[:1], dropout=0.0, max_epochs=2, learning_rate=1e-2)
    torch.manual_seed(0)
    by_hand = HisToGene(**architecture(*sections[0], HisToGeneConfig(**SMALL, dropout=0.0)))
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-2)
    patches, positions, truth = (torch.from_numpy(array)[None] for array in sections[0])
    for epoch in range(2):
        optimizer.zero_grad()
        error = by_hand(patches, positions) - truth
        value = (error**2).sum() / (36 * 2)
        assert loss[epoch] == pytest.approx(value.item(), rel=1e-5)
        value.backward()
        optimizer.step()
    torch.testing.assert_close(weights(model), weights(by_hand))


def test_it_learns_what_patches_show(sections):
    model, loss = run(sections, max_epochs=150, learning_rate=3e-3)
    assert loss[-1] < 0.6 * loss[2]
    positions = sections[0].positions
    brightness = np.linspace(50, 200, 36)
    patches = np.broadcast_to(brightness[:, None, None, None], (36, 4, 4, 3)).astype(np.uint8)
    predicted = predict(model, patches, positions=positions, sections=np.full(36, "new"), config={"max_spots": None})
    assert np.corrcoef(predicted[:, 0], brightness)[0, 1] > 0.8


def test_a_seed_decides_everything_and_leaves_the_users_alone(sections):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (run(sections, seed, max_spots=10)[0] for seed in (0, 0, 1))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(torch.rand(3), expected)


def test_large_sections_are_learnt_in_windows_of_neighbours(sections, monkeypatch):
    seen = []
    forward = HisToGene.forward

    def watched(self, patches, positions):
        seen.append(positions[0].numpy().copy())
        return forward(self, patches, positions)

    monkeypatch.setattr(HisToGene, "forward", watched)
    run(sections, max_spots=10, max_epochs=2)
    assert len(seen) == 2 * 2 * 4  # epochs, sections, windows of 10 that hold 36
    for window in seen:
        assert window.shape == (10, 2)
        assert np.ptp(window, axis=0).max() <= 5
        reach = np.abs(window - window[0]).sum(axis=1).max()
        assert reach <= 6  # a corner's nearest ten; a random choice reaches further
    assert len({tuple(window[0]) for window in seen}) > 8
    seen.clear()
    run(sections, max_spots=36, max_epochs=1)
    assert [len(window) for window in seen] == [36, 36]


def test_the_tables_grow_with_the_array(sections):
    assert architecture(*sections[0], HisToGeneConfig())["n_positions"] == 64
    far = [Section(s.patches, s.positions + np.array([0, 100]), s.expression) for s in sections]
    assert architecture(*far[0], HisToGeneConfig())["n_positions"] == 106
    model, _ = run(far)
    assert model.column_embedding.num_embeddings == 106


def test_divergence_is_refused(sections):
    with pytest.raises(ValueError, match=r"HisToGene diverged with HisToGeneConfig.learning_rate=1e\+30"):
        run(sections, learning_rate=1e30)
