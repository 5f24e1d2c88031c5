import numpy as np
import pytest
import torch

from bleep_sc.models import bleep_loss, clip_loss, losses


def softmax(row: np.ndarray) -> np.ndarray:
    exponentials = [np.exp(value - max(row)) for value in row]
    return np.array([value / sum(exponentials) for value in exponentials])


def slow_loss(image: np.ndarray, expression: np.ndarray, temperature: float) -> float:
    """The form of the paper's code, spot by spot, in float64."""
    n = len(image)
    logits = np.array([[expression[i] @ image[j] / temperature for j in range(n)] for i in range(n)])
    within = np.array(
        [
            [(expression[i] @ expression[j] + image[i] @ image[j]) / (2 * temperature) for j in range(n)]
            for i in range(n)
        ]
    )
    targets = np.array([softmax(row) for row in within])
    total = 0.0
    for i in range(n):
        rows, columns = np.log(softmax(logits[i])), np.log(softmax(logits[:, i]))
        total -= sum(targets[i, j] * rows[j] for j in range(n)) / 2
        total -= sum(targets[j, i] * columns[j] for j in range(n)) / 2
    return total / n


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_equals_a_slow_float64_version(temperature):
    rng = np.random.default_rng(0)
    image, expression = rng.normal(size=(7, 5)), rng.normal(size=(7, 5))
    fast = bleep_loss(torch.from_numpy(image), torch.from_numpy(expression), temperature)
    np.testing.assert_allclose(float(fast), slow_loss(image, expression, temperature), rtol=1e-12)


def test_targets_are_not_detached():
    image = torch.randn(4, 3, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    expression = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda x: bleep_loss(x, expression), (image,))


def test_the_order_of_the_spots_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    image, expression = (torch.randn(9, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    order = torch.randperm(9, generator=generator)
    torch.testing.assert_close(bleep_loss(image, expression), bleep_loss(image[order], expression[order]))


def test_the_transposed_targets_are_not_normalised_again():
    # The paper's code transposes the row-wise targets; the symmetric form would take a softmax over columns instead.
    generator = torch.Generator().manual_seed(0)
    image, expression = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    within, logits = (expression @ expression.T + image @ image.T) / 2, expression @ image.T
    rows = -(within.softmax(1) * logits.log_softmax(1)).sum(1)
    published = -(within.softmax(1).T * logits.T.log_softmax(1)).sum(1)
    symmetric = -(within.softmax(0).T * logits.T.log_softmax(1)).sum(1)
    torch.testing.assert_close(bleep_loss(image, expression), (rows + published).mean() / 2)
    assert not torch.isclose(bleep_loss(image, expression), (rows + symmetric).mean() / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_hard_targets_equal_a_slow_float64_version(temperature):
    """Each spot is told from the others, once by its image and once by its expression."""
    rng = np.random.default_rng(0)
    image, expression = rng.normal(size=(7, 5)), rng.normal(size=(7, 5))
    total = 0.0
    for i in range(7):
        total -= np.log(softmax(np.array([expression[i] @ image[j] / temperature for j in range(7)]))[i])
        total -= np.log(softmax(np.array([expression[j] @ image[i] / temperature for j in range(7)]))[i])
    fast = clip_loss(torch.from_numpy(image), torch.from_numpy(expression), temperature)
    np.testing.assert_allclose(float(fast), total / 14, rtol=1e-12)


def test_soft_targets_become_hard_where_spots_are_alike_to_themselves_alone():
    """Orthogonal embeddings of large norm: BLEEP's targets are the identity."""
    image = 40 * torch.eye(6, dtype=torch.float64)
    expression = image + torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bleep_loss(image, expression), clip_loss(image, expression))
    assert not torch.isclose(bleep_loss(image / 40, expression / 40), clip_loss(image / 40, expression / 40))


@pytest.mark.parametrize("loss", [bleep_loss, clip_loss])
def test_gradients_of_spots_that_are_told_apart_do_not_underflow(loss, monkeypatch):
    """Subnormal numbers are multiplied a hundred times slower, and tell nothing."""
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.layer_norm(torch.randn(64, 112, generator=generator), (112,)).requires_grad_()
    expression = (image.detach() + 0.1 * torch.randn(64, 112, generator=generator)).requires_grad_()

    def n_subnormal(gradients):
        sizes = torch.stack(gradients).abs()
        return int(((sizes > 0) & (sizes < torch.finfo(torch.float32).tiny)).sum())

    gradients = torch.autograd.grad(loss(image, expression), [image, expression])
    assert n_subnormal(gradients) == 0
    monkeypatch.setattr(losses, "UNDERFLOW", 0)
    before = torch.autograd.grad(loss(image, expression), [image, expression])
    assert n_subnormal(before) > 0
    torch.testing.assert_close(gradients, before, rtol=1e-5, atol=1e-28)
