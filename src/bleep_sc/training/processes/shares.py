"""Work shared out over the processes of a launcher."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from bleep_sc.training.processes.group import Processes, joined, launched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = timedelta(days=30)
"""How long processes wait for one that is still at work; one that has died is noticed at once."""


def step() -> tuple[int, int]:
    """Return the number of this process among those that were started with it, and how many these are.

    Unlike :func:`bleep_sc.training.processes.group.launched`, this also knows processes of srun that cannot find each
    other, since nobody has said where they meet. Within a batch script, before any srun, a process is alone.
    """
    place = launched()
    if place is None and {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= os.environ.keys():
        place = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_STEP_NUM_TASKS"])
    return place or (0, 1)


def require_meeting() -> None:
    """Refuse processes that work on one thing and that nobody has told where to meet."""
    n = step()[1]
    if n > 1 and launched() is None:
        raise ValueError(
            f"srun started {n} processes, which cannot find each other: let it start torchrun once a node, or set "
            "MASTER_ADDR to the first node and MASTER_PORT to a free port there."
        )


@contextmanager
def together() -> Iterator[tuple[Processes, Callable[[], None]]]:
    """Join the processes that a launcher started, if any, and leave with them.

    Gives the processes and a function that waits until all of them have called it, which the end of the block does,
    too: torchrun ends those that are at work when one ends badly, and so none must before the others are through.
    """
    with joined("cpu") as processes:
        group: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if processes.n > 1 else None

        def wait() -> None:
            if group is not None:
                dist.barrier(group=group)

        yield processes, wait
        wait()
