import pytest
import torch

from bleep_sc.training import device as module
from bleep_sc.training.device import resolve_device, resolve_devices


@pytest.fixture(autouse=True)
def that_compute(monkeypatch):
    """Devices that are said to be there, and multiply."""
    monkeypatch.setattr(module, "_failure", lambda device: None)


def test_the_best_device_is_taken_in_order(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device(None) == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cpu") == torch.device("cpu")


def test_a_gpu_that_does_not_compute_leaves_it_to_the_cpu_unless_it_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(module, "_failure", lambda device: "no kernel image is available")
    for device in (None, "auto"):
        with pytest.warns(UserWarning, match="'cuda' is there and does not compute, so the CPU does: no kernel image"):
            assert resolve_device(device) == torch.device("cpu")
    assert resolve_device("cuda") == torch.device("cuda")


def test_whether_a_device_computes_is_tried(monkeypatch):
    monkeypatch.undo()
    assert module._failure(torch.device("cpu")) is None
    assert module._failure(torch.device("meta"))


def test_a_missing_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for device in ("cuda:0", "cuda", "mps", "meta"):
        with pytest.raises(
            ValueError, match=f"Device '{device}' was asked for, and torch sees 'cpu'. Pass it, or 'auto'"
        ):
            resolve_device(device)


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


def test_the_gpus_that_are_there_are_named(three_gpus):
    assert resolve_device("cuda:2") == torch.device("cuda:2")
    with pytest.raises(
        ValueError, match=r"Device 'cuda:3' .* sees 'cuda:0', 'cuda:1', 'cuda:2', 'cpu'\. Pass one of them"
    ):
        resolve_device("cuda:3")


def test_several_devices_are_named_or_counted(three_gpus):
    names = [f"cuda:{i}" for i in range(3)]
    for devices, several, expected in (
        ("auto", True, names),
        ("auto", False, ["cuda"]),
        ("cuda:1", True, ["cuda:1"]),
        (2, False, names[:2]),
        (1, False, ["cuda:0"]),
        (["cuda:2", "cuda:0"], False, ["cuda:2", "cuda:0"]),
        (["cpu", "cpu", "cpu", "cpu"], False, ["cpu"] * 4),
        (["cpu"], False, ["cpu"]),
    ):
        assert list(map(str, resolve_devices(devices, several=several))) == expected


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (4, r"devices=4 asks for 4 GPUs, each in a process of its own, and torch sees 3\. Pass fewer"),
        (["cuda:0", "cuda:0"], "each in a process of its own"),
        (["cuda:0", "cpu"], "name one kind"),
        ([], "names no device"),
        (0, "names no device"),
    ],
)
def test_devices_that_are_not_there_are_refused(three_gpus, devices, message):
    with pytest.raises(ValueError, match=message):
        resolve_devices(devices)


def test_gpus_are_missing_where_there_are_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="asks for 2 GPUs, each in a process of its own, and torch sees 0"):
        resolve_devices(2)


def test_launched_processes_take_a_gpu_each(three_gpus, monkeypatch):
    for name, value in {"RANK": "6", "WORLD_SIZE": "8", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda:2")
    assert resolve_devices("auto", several=True) == [torch.device("cuda:2")]
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="this is one of 8 that a launcher started"):
        resolve_devices(2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(ValueError, match=r"process 3 .from 0. of this machine, and torch sees 3 GPUs"):
        resolve_device("auto")


def test_processes_of_slurm_take_a_gpu_each_or_the_one_that_they_are_shown(three_gpus, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_LOCALID", "2")
    assert resolve_device("auto") == torch.device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda:0")
