"""A training step of BLEEP beside a bare loop over the same model, on tensors that are in memory already.

Heads on features of a frozen encoder, and a small convolutional encoder that is trained with them. The two ways take
turns, epoch by epoch after one that does not count; the table has medians, their ratio, and the peak memory of a
process that does nothing else. Then how a step and an epoch grow with spots, genes and processes (gloo on the CPU,
which share the threads).

    python benchmarks/training.py [--threads 2] [--repeats 5] [--epochs 5] [--scale 1.0]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from torch import Tensor, nn

from bleep_sc.models.bleep import BLEEP
from bleep_sc.models.encoders import Encoder, Normalize, load_encoder
from bleep_sc.models.losses import bleep_loss
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes.group import is_first

N_COMPONENTS, TEMPERATURE, RATE = 256, 4.0, 1e-3


@dataclass(frozen=True)
class Case:
    """What is trained on what."""

    n_spots: int = 4096
    n_genes: int = 2000
    n_features: int = 512
    """Of a frozen encoder, in whose principal components heads are trained."""
    side: int | None = None
    """Of patches, px, whose encoder is trained; None: features."""
    encoder: str = "small"
    """``"small"``, or the name of a torchvision model, with random weights."""
    batch_size: int = 256
    n_models: int = 3
    precision: str = "float32"
    chunk_size: int | None = None
    device: str = "cpu"

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return max(1, self.n_spots // self.batch_size)


HEADS = Case()
END_TO_END = Case(n_spots=512, side=64, batch_size=64, n_models=1)


def made_up(case: Case) -> Pairs:
    """Return random images and expression."""
    rng = np.random.default_rng(0)
    expression = rng.random((case.n_spots, case.n_genes), dtype=np.float32)
    if case.side is None:
        return Pairs(rng.standard_normal((case.n_spots, case.n_features), dtype=np.float32), expression)
    return Pairs(rng.integers(0, 256, (case.n_spots, case.side, case.side, 3), dtype=np.uint8), expression)


def network(case: Case) -> Encoder | None:
    """Return the encoder that is trained, if one is."""
    torch.manual_seed(0)
    if case.side is None:
        return None
    if case.encoder != "small":
        return load_encoder(case.encoder, pretrained=False)
    widths, layers = (3, 32, 64, 128), []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return load_encoder(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), transform=Normalize((0.5,) * 3, (0.25,) * 3)
    )


def fitted(case: Case, n_epochs: int, pairs: Pairs | None = None, *, num_workers: int = 0) -> list[float]:
    """Return the seconds of a step, as the mean over each epoch but the first, in fit_bleep."""
    ends: list[float] = []
    pairs = pairs or made_up(case)
    config = FitConfig(
        views=("scaled",) * case.n_models,
        n_components=N_COMPONENTS,
        temperature=TEMPERATURE,
        learning_rate=RATE,
        batch_size=case.batch_size,
        chunk_size=case.chunk_size,
        precision=case.precision,  # type: ignore[arg-type]
        max_epochs=n_epochs + 1,
        train_encoder=case.side is not None,
    )
    fit_bleep(
        pairs,
        np.full(len(pairs), "slide"),
        config=config,
        encoder=network(case),
        device=case.device,
        num_workers=num_workers,
        on_epoch_end=lambda epoch, loss: bool(ends.append(time.perf_counter())),
        show_progress_bar=False,
    )
    return (np.diff(ends) / case.n_steps).tolist()


def bare(case: Case, n_epochs: int, *, compiled: bool = False, channels_last: bool = True) -> list[float]:
    """Return the seconds of a step of a loop over one batch, which is on the device already."""
    device, encoder = torch.device(case.device), network(case)
    image, expression = made_up(replace(case, n_spots=case.batch_size)).batch(torch.arange(case.batch_size))
    image = image[:, :N_COMPONENTS] if encoder is None else encoder.transform(image.float() / 255)
    image, expression = image.to(device), expression.to(device)
    core = None if encoder is None else encoder.network
    width = image.shape[1] if core is None else core.eval()(image[:1].cpu()).shape[1]
    model: Any = BLEEP(width, case.n_genes, n_models=case.n_models, encoder=core).to(device).train()
    model = model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    if encoder is not None and not channels_last:
        image = image.contiguous()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-3, fused=True)
    step = torch.compile(model) if compiled else model
    return list(seconds_of_steps(step, optimizer, image, expression, case, n_epochs))


def seconds_of_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, image: Tensor, expression: Tensor, case: Case, n_epochs: int
) -> Iterator[float]:
    """Give the mean seconds of a step for every epoch but the first."""
    autocast = torch.autocast(image.device.type, torch.bfloat16, enabled=case.precision == "bfloat16")
    for epoch in range(n_epochs + 1):
        start = time.perf_counter()
        for _ in range(case.n_steps):
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                embeddings = model(image, expression)
            parts = zip(*(each.float().chunk(case.n_models, dim=1) for each in embeddings), strict=True)
            loss = torch.stack([bleep_loss(one, other, TEMPERATURE) for one, other in parts]).sum()
            loss.backward()
            optimizer.step()
        float(loss.detach())  # waits for a GPU
        if epoch:
            yield (time.perf_counter() - start) / case.n_steps


WAYS: dict[str, Callable[..., list[float]]] = {"fit_bleep": fitted, "bare loop": bare}


def peak() -> float:
    """Return the most memory that this process has had, GiB."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 2**20


def alone(way: str, case: Case, n_epochs: int, threads: int, n_processes: int = 1) -> tuple[float, float]:
    """Return median seconds of a step, and GiB, of a way in fresh processes, of which the first one counts."""
    arguments = [__file__, "--one", json.dumps({"way": way, "n_epochs": n_epochs, "case": asdict(case)})]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command = [*launcher, f"--nproc-per-node={n_processes}", *arguments] if n_processes > 1 else arguments
    each = str(max(1, threads // n_processes))
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, "OMP_NUM_THREADS": each}, stdout=subprocess.PIPE, check=True
    )
    return tuple(json.loads(done.stdout))


def one(way: str, n_epochs: int, case: dict[str, Any]) -> None:
    """Measure one way, and print what :func:`alone` reads."""
    seconds = WAYS[way](Case(**case), n_epochs)
    if is_first():
        print(json.dumps([float(np.median(seconds)), peak()]))


def beside_a_bare_loop(cases: dict[str, Case], repeats: int, n_epochs: int, threads: int) -> None:
    """Print medians, ratios and peaks."""
    print("| | fit_bleep, ms a step | bare loop | ratio | peak, GiB | bare loop |\n|---|---|---|---|---|---|")
    for name, case in cases.items():
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(repeats):
            for way, measure in WAYS.items():
                seconds[way] += measure(case, n_epochs)
        ours, loop = (float(np.median(each)) for each in seconds.values())
        peaks = [alone(way, case, 1, threads)[1] for way in WAYS]
        print(f"| {name} | {1e3 * ours:.1f} | {1e3 * loop:.1f} | {ours / loop:.2f} | {peaks[0]:.2f} | {peaks[1]:.2f} |")


def growth(heads: Case, n_epochs: int, threads: int) -> None:
    """Print how seconds and memory grow."""
    larger = {
        "spots": [replace(heads, n_spots=k * heads.n_spots) for k in (1, 4, 16)],
        "genes": [replace(heads, n_genes=k * heads.n_genes) for k in (1, 2, 4)],
    }
    print("\n| heads | ms a step | s an epoch | peak, GiB |\n|---|---|---|---|")
    for name, cases in larger.items():
        for case in cases:
            step, gib = alone("fit_bleep", case, n_epochs, threads)
            print(f"| {getattr(case, f'n_{name}')} {name} | {1e3 * step:.1f} | {step * case.n_steps:.2f} | {gib:.2f} |")
    for n in (1, 2):
        step, gib = alone("fit_bleep", heads, n_epochs, threads, n)
        print(f"| {n} processes | {1e3 * step:.1f} | {step * heads.n_steps:.2f} | {gib:.2f} each |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the spots")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        one(**arguments.one)
        return
    torch.set_num_threads(arguments.threads)
    heads, end_to_end = (
        replace(case, n_spots=max(case.batch_size, int(arguments.scale * case.n_spots))) for case in (HEADS, END_TO_END)
    )
    print(describe(), end="\n\n")
    cases = {"heads on features": heads, "encoder and heads": end_to_end}
    beside_a_bare_loop(cases, arguments.repeats, arguments.epochs, arguments.threads)
    growth(heads, arguments.epochs, arguments.threads)


if __name__ == "__main__":
    main()
