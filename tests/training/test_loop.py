from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bleep_sc.training import loop
from bleep_sc.training.loop import batches, train


def test_an_epoch_draws_distinct_samples_in_batches_of_one_size():
    drawn = list(batches(10, 4, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in drawn] == [4, 4]
    assert len(torch.cat(drawn).unique()) == 8
    (whole,) = batches(10, 512, torch.Generator())
    assert sorted(whole.tolist()) == list(range(10))


def test_an_epoch_sees_all_samples_where_they_are_not_contrasted():
    drawn = list(batches(31, 16, torch.Generator().manual_seed(0), of_one_size=False))
    assert [len(batch) for batch in drawn] == [16, 15]
    assert sorted(torch.cat(drawn).tolist()) == list(range(31))
    assert [len(each) for each in batches(3, 16, torch.Generator(), of_one_size=False)] == [3]


def test_epochs_are_shuffled_differently_and_seeded():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.cat(list(batches(100, 10, generator))) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat(list(batches(100, 10, torch.Generator().manual_seed(0)))))


def test_the_loop_minimises_and_stops_when_told():
    target = torch.from_numpy(np.random.default_rng(0).normal(size=8)).float()
    guess = torch.nn.Parameter(torch.zeros(8))
    seen = []

    def stop(epoch, loss):
        seen.append((epoch, loss))
        return epoch == 30

    history = train(
        lambda batch: (guess[batch] - target[batch]).square().mean(),
        torch.optim.AdamW([guess], lr=0.1, weight_decay=0),
        n_samples=8,
        batch_size=4,
        max_epochs=100,
        generator=torch.Generator().manual_seed(0),
        on_epoch_end=stop,
        show_progress_bar=False,
    )
    assert len(history) == 30
    assert seen == list(enumerate(history, start=1))
    assert history[-1] < 0.05 * history[0]


def test_the_loss_of_an_epoch_is_the_mean_over_its_batches():
    weight, seen = torch.nn.Parameter(torch.zeros(())), []

    def loss(batch):
        seen.append(batch.double().mean().item())
        return weight * 0 + batch.double().mean()

    history = train(
        loss,
        torch.optim.AdamW([weight]),
        n_samples=13,
        batch_size=4,
        max_epochs=2,
        generator=torch.Generator().manual_seed(0),
        show_progress_bar=False,
    )
    assert history == pytest.approx([np.mean(seen[:3]), np.mean(seen[3:])])


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("mps", False), ("cuda:1", True)])
def test_memory_is_pinned_for_gpus_alone(device, pinned, monkeypatch):
    asked = []
    monkeypatch.setattr(loop, "DataLoader", lambda *args, **kwargs: asked.append(kwargs["pin_memory"]))
    parameter = SimpleNamespace(device=torch.device(device))
    train(
        lambda batch: batch,
        SimpleNamespace(param_groups=[{"params": [parameter]}]),
        n_samples=8,
        batch_size=4,
        max_epochs=0,
        generator=torch.Generator(),
        show_progress_bar=False,
    )
    assert asked == [pinned]


def test_the_bar_is_not_drawn_every_epoch(monkeypatch):
    drawn = []

    class Bar(list):
        def set_postfix(self, refresh=True, **kwargs):
            drawn.append(refresh)

    monkeypatch.setattr(loop, "progress", lambda epochs, *args, **kwargs: Bar(epochs))
    guess = torch.nn.Parameter(torch.zeros(8))
    train(
        lambda batch: guess[batch].square().mean(),
        torch.optim.SGD([guess], lr=0.1),
        n_samples=8,
        batch_size=4,
        max_epochs=3,
        generator=torch.Generator(),
    )
    assert drawn == [False] * 3
