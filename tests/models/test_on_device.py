import pytest
import torch

from bleep_sc.models import on_device
from bleep_sc.models.on_device import (
    fetched,
    fits,
    half_precision,
    has_bfloat16,
    memory_format,
    or_on_the_cpu,
    transfer,
)

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda:0", "mps"))


def test_images_lie_channel_by_channel_only_where_gradients_would_be_wrong():
    assert memory_format(CPU) is memory_format(CUDA) is torch.channels_last
    assert memory_format(MPS) is torch.contiguous_format


class Recorded:
    """A tensor that notes what is asked of it."""

    device = CPU

    def __init__(self):
        self.asked = []

    def pin_memory(self):
        self.asked.append("pinned")
        return self

    def to(self, device, non_blocking=False):
        self.asked.append((torch.device(device).type, non_blocking))
        return self


def test_memory_is_pinned_and_copies_do_not_wait_for_gpus_alone():
    for device, expected in ((CPU, [("cpu", False)]), (MPS, [("mps", False)]), (CUDA, ["pinned", ("cuda", True)])):
        tensor = Recorded()
        transfer(tensor, device)
        assert tensor.asked == expected


def test_a_result_is_waited_for_alone(monkeypatch):
    """And not with what the GPU was given after it."""

    class Event:
        def record(self, stream):
            tensor.asked.append(f"marked on {stream}")

        def synchronize(self):
            tensor.asked.append("waited")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    tensor = Recorded()
    tensor.device = CUDA
    wait = fetched(tensor)
    assert tensor.asked == [("cpu", True), "marked on the stream of cuda:0"]
    assert wait() is tensor
    assert tensor.asked[2:] == ["waited"]
    assert torch.equal(fetched(torch.ones(3))(), torch.ones(3))


def test_bfloat16_is_asked_for_without_emulation(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())  # a context of some kind
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: asked.append(1) or including_emulation
    )
    assert not has_bfloat16(CUDA)
    assert asked == [1]
    assert not has_bfloat16(CPU)
    assert asked == [1]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nMore."), NotImplementedError("No op.")])
def test_what_fails_on_a_device_is_done_on_the_cpu_unless_it_was_asked_for(error):
    asked = []

    def compute(device):
        asked.append(device)
        if device.type != "cpu":
            raise error
        return "done"

    message = rf"The search failed on 'cuda:0', and is done on the CPU: {str(error).splitlines()[0]}$"
    with pytest.warns(UserWarning, match=message):
        assert or_on_the_cpu(compute, CUDA, "The search", is_named=False) == "done"
    assert asked == [CUDA, CPU]
    with pytest.raises(type(error)):
        or_on_the_cpu(compute, CUDA, "The search", is_named=True)
    assert or_on_the_cpu(compute, CPU, "The search", is_named=False) == "done"


def test_other_errors_are_raised_as_they_are():
    def compute(device):
        raise RuntimeError("Sizes differ.")

    for device in (CUDA, CPU):
        with pytest.raises(RuntimeError, match="Sizes differ"):
            or_on_the_cpu(compute, device, "The search", is_named=False)
    with pytest.warns(UserWarning, match="failed on 'mps'"), pytest.raises(RuntimeError, match="Sizes differ"):
        or_on_the_cpu(compute, MPS, "The search", is_named=False)  # whose errors have no class of their own


def test_what_stays_on_a_gpu_is_a_quarter_of_what_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 250)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 50)
    assert on_device.free_bytes(CUDA) == 800
    assert fits(200, CUDA)
    assert not fits(201, CUDA)
    assert not fits(0, CPU)


def test_networks_compute_with_16_bits_on_gpus_alone(monkeypatch):
    with half_precision(CPU):
        assert not torch.is_autocast_enabled("cpu")
    asked = []
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: asked.append((kind, dtype)))
    for has in (True, False):
        monkeypatch.setattr(on_device, "has_bfloat16", lambda device, has=has: has)
        half_precision(CUDA)
    assert asked == [("cuda", torch.bfloat16), ("cuda", torch.float16)]
