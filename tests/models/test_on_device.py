import torch

from bleep_sc.models.on_device import fetched, has_bfloat16, memory_format, transfer

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda:0", "mps"))


def test_images_lie_channel_by_channel_only_where_gradients_would_be_wrong():
    assert memory_format(CPU) is memory_format(CUDA) is torch.channels_last
    assert memory_format(MPS) is torch.contiguous_format


class Recorded:
    """A tensor that notes what is asked of it."""

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
