"""Training in several processes: each embeds its share of a batch, and all of them contrast the whole of it."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True)
class Processes:
    """The processes that train one model, and which of them this is.

    Every process draws the same batch of B samples and embeds its share of it. The embeddings are gathered, and every
    process computes the loss of the whole batch from them. Gathering passes the gradient of its own share back to each
    process, so that its parameters get the part of the gradient that its share is the reason for; these parts are
    added up over the processes, once, before the step. Loss and gradients are those of one process with all of it.
    """

    rank: int = 0
    """Number of this process, from 0."""
    n: int = 1
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this process shows progress and writes files, which one of them does for all."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Return which of n samples are this process's; shares differ by one at most."""
        sizes = self._sizes(n)
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def gather(self, share: Tensor, n: int) -> Tensor:
        """Join the shares (n_share, ...) of n samples in the order of the samples, (n, ...)."""
        if self.n == 1:
            return share
        gathered: Tensor = _Gather.apply(share, self._sizes(n), self.rank)
        return gathered

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up over the processes what each of them contributes to the gradients."""
        if self.n == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def broadcast(self, tensors: Iterable[Tensor], source: int = 0) -> None:
        """Overwrite tensors with those of the first process, or of another one."""
        for tensor in tensors if self.n > 1 else ():
            there = tensor.detach().to(_device(tensor.device)).contiguous()
            dist.broadcast(there, src=source)
            tensor.detach().copy_(there)

    def collect(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all processes, which have one shape, as (n, ...), on the CPU."""
        if self.n == 1:
            return tensor[None].cpu()
        there = tensor.to(_device(tensor.device)).contiguous()
        parts = [torch.empty_like(there) for _ in range(self.n)]
        dist.all_gather(parts, there)
        return torch.stack(parts).cpu()

    def first_says(self, value: bool) -> bool:
        """Return what the first process says."""
        return bool(self.collect(torch.tensor(value, dtype=torch.uint8))[0])

    def first_tells(self, text: str) -> str:
        """Return what the first process tells the others, its first 1000 bytes."""
        data = torch.frombuffer(bytearray(text.encode()[:1000].ljust(1000)), dtype=torch.uint8)
        return bytes(self.collect(data)[0].tolist()).decode(errors="ignore").strip()

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Refuse to go on where processes differ in something that they have to agree on."""
        if self.n == 1:
            return
        digests = [hashlib.sha256(repr(value).encode()).digest()[:8] for value in facts.values()]
        mine = torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])
        differ = self.collect(mine) != mine  # (n, n_facts)
        if differ.any():
            other = int(differ.any(dim=1).nonzero()[0])
            names = [name for name, is_other in zip(facts, differ[other].tolist(), strict=True) if is_other]
            said = "; ".join(f"{name} is {facts[name]} here" for name in names)
            raise ValueError(
                f"Processes {self.rank} and {other} of {self.n} were given different things: {said}, and "
                "something else there. Let every process load the same AnnData and pass the same arguments."
            )

    def _sizes(self, n: int) -> list[int]:
        return [n // self.n + (rank < n % self.n) for rank in range(self.n)]


ALONE = Processes()


@contextmanager
def joined(device: torch.device | str) -> Iterator[Processes]:
    """Join the group that torchrun, SLURM or another launcher has prepared, if there is one, while the block lasts.

    A group that exists is used and left as it is. A launcher is known by ``RANK`` and ``WORLD_SIZE`` in the
    environment, or ``SLURM_PROCID`` and ``SLURM_NTASKS`` where ``MASTER_ADDR`` and ``MASTER_PORT`` are set too.
    """
    created = False
    if dist.is_available() and not dist.is_initialized():
        place = launched()
        if place is not None:
            _create(torch.device(device), *place)
            created = True
    try:
        exists = dist.is_available() and dist.is_initialized()
        yield Processes(dist.get_rank(), dist.get_world_size()) if exists else ALONE
    finally:
        if created:
            dist.destroy_process_group()


def launched() -> tuple[int, int] | None:
    """Return rank and number of the processes that a launcher started; None where this process is alone."""
    if dist.is_available() and dist.is_initialized():
        place = dist.get_rank(), dist.get_world_size()
    elif {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        place = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    elif {"SLURM_PROCID", "SLURM_NTASKS", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        place = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    else:
        return None
    return place if place[1] > 1 else None


def is_first() -> bool:
    """Tell whether this process is alone, or the first of those that a launcher started: it logs and shows bars."""
    place = launched()
    return place is None or place[0] == 0


def _create(device: torch.device, rank: int, n: int) -> None:
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{n} processes cannot train together on {str(device)!r}; pass devices='cpu'.")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=n)
    except dist.DistError as error:
        place = f"MASTER_ADDR={os.environ.get('MASTER_ADDR')!r}, MASTER_PORT={os.environ.get('MASTER_PORT')!r}"
        raise RuntimeError(
            f"Process {rank} of {n} could not join the others at {place} ({error}). If the port is in use, set "
            "MASTER_PORT to another one; if the address is not reachable, set MASTER_ADDR to that of the first node."
        ) from error


def _device(own: torch.device) -> torch.device:
    """Return where the collectives of the group want a tensor to be."""
    if dist.get_backend() == "nccl":
        return own if own.type == "cuda" else torch.device("cuda", torch.cuda.current_device())
    return own


class _Gather(torch.autograd.Function):
    """Shares padded to one length, since gloo aborts on unequal gathers, joined and cut again."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.sizes, ctx.rank = sizes, rank
        padded = share.new_zeros(max(sizes), *share.shape[1:])
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])  # (n, ...)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # All processes compute the same loss, so that each of them has the whole gradient: it takes its share of it.
        return gradients[0].split(ctx.sizes)[ctx.rank], None, None
