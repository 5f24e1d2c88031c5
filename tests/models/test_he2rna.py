import numpy as np
import pytest
import torch

from bleep_sc.models.he2rna import HE2RNA, predict, top_mean
from bleep_sc.models.hist2rna import Hist2RNA


def random_model(kind, **how):
    torch.manual_seed(0)
    model = kind(n_features=5, n_genes=3, **how).double().eval()
    model.scale.set_to(torch.randn(5), torch.rand(5) + 0.5)
    return model


def by_hand(model, tile):
    """What a perceptron makes of one tile, number by number."""
    values = [(x - m) / s for x, m, s in zip(tile, model.scale.mean.tolist(), model.scale.std.tolist(), strict=True)]
    layers = [each for each in model.hidden.modules() if isinstance(each, torch.nn.Linear)]
    for layer in [*layers, model.head]:
        weight, bias = layer.weight.tolist(), layer.bias.tolist()
        values = [sum(w * x for w, x in zip(row, values, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
        if layer is not model.head:
            values = [max(0.0, x) for x in values]
    return values


def brute_mean(scores, share):
    k = max(1, round(share * len(scores)))
    return [sum(sorted(column, reverse=True)[:k]) / k for column in zip(*scores, strict=True)]


@pytest.mark.parametrize(("kind", "how"), [(HE2RNA, {"n_hidden": 4, "n_layers": 2}), (Hist2RNA, {"n_hidden": 3})])
def test_the_forward_pass_is_that_of_a_perceptron(kind, how):
    model, tiles = random_model(kind, **how), torch.randn(7, 5, dtype=torch.float64)
    expected = [by_hand(model, tile) for tile in tiles.tolist()]
    np.testing.assert_allclose(model(tiles).detach().numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.25, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 13])
def test_the_mean_of_the_highest_is_that_of_sorted_scores(n, share):
    scores = torch.randn(n, 4, dtype=torch.float64)
    np.testing.assert_allclose(top_mean(scores, share).numpy(), brute_mean(scores.tolist(), share), rtol=0, atol=1e-10)


def test_slides_are_pooled_one_by_one_and_averaged_over_the_shares():
    model, sizes, shares = random_model(HE2RNA, n_hidden=4), [3, 1, 8], (0.1, 0.5, 1.0)
    tiles = torch.randn(sum(sizes), 5, dtype=torch.float64)
    expected, start = [], 0
    for size in sizes:
        scores = [by_hand(model, tile) for tile in tiles[start : start + size].tolist()]
        expected.append(np.mean([brute_mean(scores, share) for share in shares], axis=0))
        start += size
    np.testing.assert_allclose(model.of_slides(tiles, sizes, shares).detach().numpy(), expected, rtol=0, atol=1e-10)


def test_the_order_of_tiles_and_of_slides_changes_nothing():
    model, tiles = random_model(HE2RNA, n_hidden=4), torch.randn(9, 5, dtype=torch.float64)
    one = model.of_slides(tiles, [4, 5], (0.3,))
    other = model.of_slides(torch.cat([tiles[4:].flip(0), tiles[:4][[2, 0, 3, 1]]]), [5, 4], (0.3,))
    torch.testing.assert_close(other.flip(0), one, rtol=0, atol=1e-12)


def test_only_the_highest_tiles_are_learnt_from():
    scores = torch.tensor([[3.0, 0.0], [1.0, 9.0], [2.0, 8.0], [0.0, 1.0]], requires_grad=True)
    top_mean(scores, 0.5).sum().backward()
    assert scores.grad.tolist() == [[0.5, 0.0], [0.0, 0.5], [0.5, 0.5], [0.0, 0.0]]


def test_tiles_are_read_out_one_by_one_without_dropout():
    torch.manual_seed(0)
    model = HE2RNA(n_features=5, n_genes=3, n_hidden=8, dropout=0.5).train()
    tiles = np.random.default_rng(0).normal(size=(1500, 5)).astype(np.float32)
    whole = predict(model, tiles)
    assert not model.training
    np.testing.assert_allclose(whole[1023:1026], predict(model, tiles[1023:1026]), atol=1e-6)
