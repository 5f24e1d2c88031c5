import pytest
import torch

from bleep_sc.training.seeds import seeded


@pytest.fixture
def no_gpu_is_touched(monkeypatch):
    def touched(*_):
        raise AssertionError("A GPU was touched.")

    for name in ("manual_seed", "manual_seed_all", "get_rng_state", "set_rng_state", "device_count", "_lazy_call"):
        monkeypatch.setattr(torch.cuda, name, touched)


def test_draws_are_those_of_the_seed_and_the_callers_go_on(no_gpu_is_touched):
    torch.default_generator.manual_seed(7)
    expected = torch.rand(4)
    torch.default_generator.manual_seed(3)
    as_seeded = torch.rand(2)
    torch.default_generator.manual_seed(7)
    first = torch.rand(2)
    with seeded(3, torch.device("cpu")) as generator:
        assert torch.equal(torch.rand(2), as_seeded)
        assert torch.equal(torch.rand(2, generator=generator), as_seeded)
    assert torch.equal(torch.cat([first, torch.rand(2)]), expected)


def test_of_gpus_the_one_that_trains_is_seeded(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: asked.append(("kept", device)))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: asked.append(("restored", device)))
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: asked.append(("seeded", seed)))
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())  # a context of some kind
    with seeded(3, torch.device("cuda:2")):
        pass
    assert asked == [("kept", 2), ("seeded", 3), ("restored", 2)]
