"""Where a training was when it was interrupted. The file is replaced as a whole, and never unpickled."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from bleep_sc._arrays.blocks import slices
from bleep_sc._output.disk import appears
from bleep_sc._output.locks import held
from bleep_sc._output.messages import logger
from bleep_sc._version import __version__
from bleep_sc.models.fitted import apart
from bleep_sc.training.processes.group import ALONE, Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from bleep_sc._arrays.sparse_rows import SparseRows
    from bleep_sc.models.encoders import Encoder
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs

FILE, FORMAT = "checkpoint.safetensors", "bleep_sc checkpoint 1"
MAX_SHARE = 0.05
"""How much of the time of training may go into saving; so many epochs are left out."""
SAMPLED = 256
"""Of patches that are not in memory, how many are read to recognise them."""


class Checkpoint:
    """A file that holds weights, optimiser, history and the states of all random generators after an epoch.

    Parameters
    ----------
    folder
        Where it lies; made if need be.
    model
        What is trained.
    fingerprint
        What the training depends on, as :func:`fingerprint` says. A file with another one is refused.
    processes
        Those that train; the first one writes.
    """

    def __init__(
        self, folder: str | Path, model: nn.Module, fingerprint: dict[str, Any], processes: Processes = ALONE
    ) -> None:
        self.path, self.model, self.processes = Path(folder) / FILE, model, processes
        self.fingerprint = json.loads(json.dumps(fingerprint))  # as it is read back
        self.saved_at, self.took = time.monotonic(), 0.0

    def load(self, optimizer: torch.optim.Optimizer, generator: torch.Generator) -> list[float]:
        """Put everything back as it was saved, and return the history; an empty one where nothing was saved."""
        found = self._read()
        self.processes.require_same({str(self.path): None if found is None else len(found["history"])})
        if found is None:
            return []
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer", found).items():
            number, _, key = name.partition("/")
            moments.setdefault(int(number), {})[key] = _laid_out_as(parameters[int(number)], tensor)
        self.model.load_state_dict(_under("model", found))
        groups = optimizer.state_dict()["param_groups"]  # plain numbers from the config, which is the same
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        generator.set_state(found["generator"])
        # Cloned, since torch reads a state from the beginning of its memory, whatever row it is.
        states = {name: of_all[self.processes.rank].clone() for name, of_all in _under("random", found).items()}
        _set_random_states(states, self._device)
        history: list[float] = found["history"].tolist()
        if self.processes.is_first:
            logger.info("Going on after epoch %d in %s.", len(history), self.path)
        return history

    def save(
        self, optimizer: torch.optim.Optimizer, generator: torch.Generator, history: list[float], *, last: bool
    ) -> None:
        """Save the state after an epoch; not after every one, where saving takes long."""
        started = time.monotonic()
        if not self.processes.first_says(last or started - self.saved_at >= self.took / MAX_SHARE):
            return
        states = {name: self.processes.collect(state) for name, state in _random_states(self._device).items()}
        if not self.processes.is_first:
            return
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{parameter}/{name}": tensor for name, tensor in state.items()}
        tensors |= {f"random/{name}": state for name, state in states.items()}
        tensors |= {"generator": generator.get_state(), "history": torch.tensor(history, dtype=torch.float64)}
        metadata = {"format": FORMAT, "fingerprint": json.dumps(self.fingerprint)}
        self._write(safetensors.torch.save(apart(tensors), metadata))
        self.saved_at = time.monotonic()
        self.took = self.saved_at - started

    def _write(self, content: bytes) -> None:
        kept = "The last one is kept" if self.path.exists() else "There is none yet"
        size = f"A checkpoint takes {len(content) / 2**20:.0f} MiB, twice that while it is replaced"
        with appears(self.path, f"{size}. {kept} in {str(self.path)!r}: make room and call again.") as draft:
            draft.write_bytes(content)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _read(self) -> dict[str, Tensor] | None:
        if not self.path.is_file():
            return None
        remedy = f"Remove {str(self.path)!r} to start anew, or pass another checkpoint_dir."
        try:
            with safetensors.safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                # Cloned, since the optimiser goes on in these tensors, and the file may be mapped.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, it is no dict
        except safetensors.SafetensorError as error:
            raise ValueError(f"The checkpoint is damaged or no checkpoint ({error}). {remedy}") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"The file is no checkpoint of this version of bleep_sc. {remedy}")
        before = json.loads(metadata["fingerprint"])
        changed = [
            f"{name} was {before.get(name)!r} and is {self.fingerprint.get(name)!r}"
            for name in {**before, **self.fingerprint}
            if before.get(name) != self.fingerprint.get(name)
        ]
        if changed:
            raise ValueError(
                f"The checkpoint is of another training: {'; '.join(changed)}. Pass what it was started with to go on "
                f"with it. {remedy}"
            )
        return tensors


@contextmanager
def only_one(folder: str | Path | None, processes: Processes) -> Iterator[None]:
    """Refuse a second training that would replace the checkpoints of this one, while the block lasts.

    The first process takes the folder, and all say why where it cannot: others would wait for it.
    """
    if folder is None:
        yield
        return
    with ExitStack() as taken:
        refused = None
        if processes.is_first:
            try:
                taken.enter_context(held(Path(folder) / FILE))
            except OSError as error:
                refused = error
        if said := processes.first_tells("" if refused is None else str(refused)):
            raise refused or FileExistsError(said)
        yield


def fingerprint(
    pairs: Pairs,
    groups: NDArray[np.str_],
    config: FitConfig,
    *,
    units: NDArray[np.str_] | None = None,
    encoder: Encoder | None,
    random_state: int,
    device: torch.device | str,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Say what a training depends on, name by name: arrays by shape, type and hash.

    Patches that are not in memory are recognised by 256 of them, evenly spaced.
    """
    images: Any = pairs.images
    if not isinstance(images, np.ndarray):
        images = images[np.linspace(0, len(images) - 1, min(SAMPLED, len(images)), dtype=np.intp)]
    donors = None if units is None or np.array_equal(units, groups) else units  # of slides, nothing is said twice
    return {
        "version of bleep_sc": __version__,
        "images": f"{tuple(pairs.images.shape)} {_hash(images)}",
        "expression": f"{pairs.expression.shape} {_hash(pairs.expression)}",
        "slides": f"{len(np.unique(groups))} of {len(groups)} spots {_hash(groups)}",
        "donors": None if donors is None else f"{len(np.unique(donors))} of {len(donors)} spots {_hash(donors)}",
        "encoder": None if encoder is None else f"{encoder.name} {encoder.fingerprint()}".strip(),
        "random_state": random_state,
        "device": torch.device(device).type,
        "number of processes": processes.n,
        **{f"config.{name}": value for name, value in asdict(config).items()},
    }


def _hash(array: NDArray[Any] | SparseRows) -> str:
    digest = hashlib.sha256(str(array.dtype).encode())
    for part in slices(len(array), SAMPLED):  # a part at a time, since the array may be on disk
        digest.update(np.ascontiguousarray(array[part]).tobytes())
    return digest.hexdigest()[:16]


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor with the axes in the order in memory that its parameter has, which fused optimisers assume."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, device=tensor.device, requires_grad=False).copy_(tensor)


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the global generators, which dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])
