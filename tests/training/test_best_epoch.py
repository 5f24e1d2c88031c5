import numpy as np
import pytest
import torch

from bleep_sc.models.losses import bleep_loss, clip_loss
from bleep_sc.training import best_epoch, checkpoint, fit
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes.group import ALONE

HOW = {"n_dims": 8, "views": ("raw",), "batch_size": 16, "validation_fraction": 0.25, "cross_fit": False}


@pytest.fixture
def noise():
    """Images that say nothing of expression: the longer it is trained, the worse for other spots."""
    rng = np.random.default_rng(0)
    return Pairs(rng.normal(size=(60, 7)).astype(np.float32), rng.normal(size=(60, 9)).astype(np.float32))


def run(pairs, folder=None, on_epoch_end=None, **changes):
    return fit_bleep(
        pairs,
        np.repeat(["a", "b"], 30),
        config=FitConfig(**{**HOW, **changes}),
        checkpoint_dir=folder,
        on_epoch_end=on_epoch_end,
        show_progress_bar=False,
    )


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def judges(seed=0):
    return best_epoch.judges(60, 0.25, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("soft", [True, False])
def test_the_epoch_with_the_lowest_loss_on_other_spots_is_kept(noise, soft, monkeypatch, caplog):
    caplog.set_level("INFO", "bleep_sc")
    after = []

    class Watched(best_epoch.BestEpoch):
        def judge(self, *args):
            after.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
            super().judge(*args)

    monkeypatch.setattr(fit, "BestEpoch", Watched)
    monkeypatch.setattr(fit, "whole", lambda model, *_: model)
    model, history = run(noise, max_epochs=30, learning_rate=0.01, dropout=0.5, soft_targets=soft)
    assert len(history) == len(after) == 30
    here = judges()
    assert len(here) == len(set(here.tolist())) == 15
    kept, losses = {name: tensor.clone() for name, tensor in model.state_dict().items()}, []
    model.eval()
    for state in after:
        model.load_state_dict(state)
        embedded = model(torch.from_numpy(noise.images[here]), torch.from_numpy(noise.expression[here]))
        losses.append(float((bleep_loss if soft else clip_loss)(*embedded, 4.0)))
    best = int(np.argmin(losses))
    assert 0 <= best < 29
    for name, tensor in after[best].items():
        assert torch.equal(tensor, kept[name])
    assert f"Kept epoch {best + 1} of 30, by the loss on 15 spots." in caplog.messages


def test_what_judges_is_not_trained_on(noise):
    """After one epoch there is nothing to choose: whatever these spots show, the weights are the same."""
    rng, here = np.random.default_rng(1), judges()
    other = Pairs(noise.images.copy(), noise.expression.copy())
    other.images[here], other.expression[here] = rng.normal(size=(15, 7)), rng.normal(size=(15, 9))
    first, second = (run(each, max_epochs=1)[0] for each in (noise, other))
    assert torch.equal(weights(first), weights(second))
    other.expression[np.setdiff1d(np.arange(60), here)] += 1
    assert not torch.equal(weights(first), weights(run(other, max_epochs=1)[0]))


def test_a_training_that_was_interrupted_keeps_the_same_epoch(noise, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_SHARE", np.inf)  # after every epoch
    how = {"max_epochs": 12, "learning_rate": 0.01}

    def stop(epoch, loss):
        if epoch > 8:  # later than the best
            raise InterruptedError
        return False

    with pytest.raises(InterruptedError):
        run(noise, tmp_path, stop, **how)
    resumed, at_once = run(noise, tmp_path, **how)[0], run(noise, **how)[0]
    assert torch.equal(weights(resumed), weights(at_once))


def test_batches_that_judge_have_one_size(noise):
    sizes = [len(image) for image, _ in best_epoch.batches_to_judge(noise, 16)]
    assert sizes == [16, 16, 16]
    assert [len(image) for image, _ in best_epoch.batches_to_judge(noise, 100)] == [60]


def test_batches_that_judge_mix_slides():
    """Spots of a slide stand side by side, and are drawn in any order."""
    slides = np.repeat(np.arange(3), 20)[judges()]
    assert (np.diff(slides) < 0).any()
    assert all(len(np.unique(batch)) > 1 for batch in (slides[:7], slides[7:14]))


def test_a_training_that_diverged_is_no_model(noise):
    for share in (0.0, 0.25):
        with pytest.raises(ValueError, match=r"diverged with FitConfig.learning_rate=1e\+30; pass a smaller one"):
            run(noise, max_epochs=3, learning_rate=1e30, validation_fraction=share)


def test_the_mean_of_the_losses_decides_and_the_first_of_equals_stays():
    kept = best_epoch.BestEpoch(torch.nn.Linear(1, 1))
    for epoch, losses in enumerate([[3.0, 1.0], [1.0, 1.5], [1.5, 1.0], [float("nan"), 0.0]], start=1):
        torch.nn.init.constant_(kept.model.weight, epoch)
        kept.judge(epoch, lambda losses=losses: iter([torch.tensor(each) for each in losses]), ALONE)
    assert (float(kept.best.weight), int(kept.epoch), float(kept.lowest)) == (2, 2, 1.25)
    assert kept.model.training


def test_too_few_spots_to_judge_by_are_refused(noise):
    with pytest.raises(ValueError, match=r"validation_fraction=0\.02 leaves 59 of 60 spots .* and 1 to judge"):
        run(noise, validation_fraction=0.02)


@pytest.mark.parametrize("soft", [True, False])
def test_the_loss_is_that_which_was_asked_for(noise, soft, monkeypatch):
    monkeypatch.setattr(fit, "whole", lambda model, *_: model)
    how = {"validation_fraction": 0.0, "dropout": 0.0, "learning_rate": 1e-12, "batch_size": 60, "max_epochs": 1}
    model, (reported,) = run(noise, soft_targets=soft, **how)  # as it was drawn
    with torch.no_grad():
        embedded = model(torch.from_numpy(noise.images), torch.from_numpy(noise.expression))
    assert reported == pytest.approx(float((bleep_loss if soft else clip_loss)(*embedded, 4.0)), rel=1e-5)
    assert not np.isclose(reported, float((clip_loss if soft else bleep_loss)(*embedded, 4.0)), rtol=1e-3)
