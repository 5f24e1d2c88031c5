"""The paper's training on a GPU, and all that else runs there, in about ten minutes.

Patches of 224 px, ResNet-50 end to end, 3,467 genes, batches of 512. Patches and expression are made up, with a cause
in common; 2,048 of them, which cost as much a step as the paper's 9,269 (--spots 9269). Needs torch, torchvision and
NumPy, and neither scanpy nor anndata. Parts, in this order, each printed as it ends, whatever becomes of the next one;
none is begun when the time is over:

- speed: images a second of fit_bleep beside a bare loop over a batch that is on the GPU already, with bfloat16, TF32
  and float32, and of the bare loop channels first, and compiled; peak memory, and the paper's 150 epochs;
- features: frozen features beside bare forward passes, patches a second;
- search: beside plain torch and FAISS, where that is built for a GPU;
- parity: neighbours, means and regression beside those of the CPU; embeddings with 16 bits beside those with 32;
- heads: a step of heads on features, with bfloat16, TF32 and float32;
- chunks: speed with FitConfig(chunk_size=);
- precision: loss curves, and retrieval on a held-out part, with bfloat16 and with float32, two seeds each;
- store: images a second where patches come from a zarr store, by processes that read ahead;
- processes: where there are two GPUs, one process and two from the same start: loss and weights with synchronised
  batch norm, and images a second.

    python benchmarks/gpu.py [--parts speed search ...] [--minutes 10] [--spots 2048]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from gpu_retrieval import parity, peak, search
from machine import describe
from training import Case, bare, fitted, network

from bleep_sc.models import retrieval
from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.encode import encode
from bleep_sc.training.config import FitConfig
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.processes.group import is_first, joined

PAPER = Case(
    n_spots=2048, n_genes=3467, side=224, encoder="resnet50", batch_size=512, n_models=1, precision="bfloat16",
    device="cuda",
)  # fmt: skip
N_EPOCHS, N_SPOTS, N_CAUSES, HELD_OUT = 150, 9269, 4, 0.2
PRECISIONS = ("bfloat16", "float32")
NUMBERS = ("bfloat16", "TF32", "float32")


@contextmanager
def numbers(name: str) -> Iterator[str]:
    """Let products and convolutions of float32 take TF32, or not; gives the precision of a configuration."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name != "float32"
    try:
        yield "bfloat16" if name == "bfloat16" else "float32"
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def tissue(case: Case) -> Pairs:
    """Return patches whose colour and stripes, and expression whose genes, follow from the same few causes."""
    generator = torch.Generator().manual_seed(0)
    causes = torch.randn(case.n_spots, N_CAUSES, generator=generator)
    loadings = torch.randn(N_CAUSES, case.n_genes, generator=generator)
    noise = 0.5 * torch.randn(case.n_spots, case.n_genes, generator=generator)
    expression = torch.relu(causes @ loadings + noise).numpy()
    across = torch.linspace(0, 1, case.side)
    patches = np.empty((case.n_spots, case.side, case.side, 3), dtype=np.uint8)
    for i, cause in enumerate(causes):
        stripes = 40 * torch.sin((10 + 8 * torch.tanh(cause[3])) * 6.28 * across)  # (side,)
        grain = 25 * torch.randn(case.side, case.side, 1, generator=generator)
        values = 150 + 40 * torch.tanh(cause[:3]) + stripes[:, None, None] + grain  # (side, side, 3)
        patches[i] = values.clamp(0, 255).to(torch.uint8).numpy()
    return Pairs(patches, expression)


def memory(case: Case) -> str:
    """Return the peak memory since it was last asked for."""
    return peak() if torch.device(case.device).type == "cuda" else "-"


def speed(case: Case, pairs: Pairs, n_epochs: int) -> None:
    """Print images a second beside the bare loop, and what the paper's 150 epochs take."""
    print("\n| | images a second | of the bare loop | peak, GiB | 150 epochs, min |\n|---|---|---|---|---|")
    for name in NUMBERS:
        with numbers(name) as precision:
            each = replace(case, precision=precision)
            ways: dict[str, Callable[[], list[float]]] = {
                "bare loop": lambda each=each: bare(each, n_epochs),
                "fit_bleep": lambda each=each: fitted(each, n_epochs, pairs),
                "bare loop, channels first": lambda each=each: bare(each, n_epochs, channels_last=False),
            }
            if name == "bfloat16":
                ways["bare loop, compiled"] = lambda each=each: bare(each, n_epochs, compiled=True)
            loop = None
            for way, measure in ways.items():
                memory(case)
                try:
                    step = float(np.median(measure()))
                except Exception as error:  # noqa: BLE001, the others are measured all the same
                    print(f"| {way}, {name} | {type(error).__name__} | | | |", flush=True)
                    continue
                loop = step if loop is None else loop
                whole = N_EPOCHS * (N_SPOTS // case.batch_size) * step / 60
                speeds = f"{case.batch_size / step:.0f} | {loop / step:.2f}"
                print(f"| {way}, {name} | {speeds} | {memory(case)} | {whole:.1f} |", flush=True)


def chunks(case: Case, pairs: Pairs, n_epochs: int) -> None:
    """Print images a second and memory for chunks of several sizes."""
    print("\n| chunk_size | images a second | peak, GiB |\n|---|---|---|")
    for size in (None, *(case.batch_size // k for k in (2, 4, 8))):
        memory(case)
        step = float(np.median(fitted(replace(case, chunk_size=size), n_epochs, pairs)))
        print(f"| {size} | {case.batch_size / step:.0f} | {memory(case)} |", flush=True)


def store(case: Case, pairs: Pairs, n_epochs: int) -> None:
    """Print images a second where patches are read from disk."""
    from bleep_sc.slides._lazy import StoredPatches
    from bleep_sc.slides._store import write_store

    print("\n| processes that read ahead | images a second |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        patches, n = np.asarray(pairs.images), len(pairs)
        parts = (patches[start : start + 256] for start in range(0, n, 256))
        write_store(Path(folder) / "store", lambda done: parts, n=n, size=case.side or 0, recipe={})
        lazy = StoredPatches((f"{folder}/store",), np.zeros(n, dtype=np.intp), np.arange(n))
        for num_workers in (0, 4, 12):
            stored = Pairs(lazy, pairs.expression)
            step = float(np.median(fitted(case, n_epochs, stored, num_workers=num_workers)))
            print(f"| {num_workers} | {case.batch_size / step:.0f} |", flush=True)


def heads(case: Case, n_epochs: int) -> None:
    """Print a step of heads on features."""
    print("\n| heads on features | fit_bleep, ms a step | bare loop |\n|---|---|---|")
    for name in NUMBERS:
        with numbers(name) as precision:
            each = replace(case, side=None, n_features=2048, batch_size=256, n_models=3, precision=precision)
            ours, loop = (1e3 * float(np.median(way(each, 5 * n_epochs))) for way in (fitted, bare))
        print(f"| {name} | {ours:.2f} | {loop:.2f} |", flush=True)


def precision(case: Case, pairs: Pairs, n_epochs: int) -> None:
    """Print the loss of epochs, and how well held-out spots are predicted, for both kinds of numbers."""
    rng = np.random.default_rng(0)
    out = rng.random(len(pairs)) < HELD_OUT
    train, test = pairs[~out], pairs[out]
    print("\n| numbers | seed | mean Pearson r, held out | loss of every epoch |\n|---|---|---|---|")
    for seed in (0, 1):
        for name in PRECISIONS:
            config = replace(FitConfig.paper(), precision=name, max_epochs=n_epochs, batch_size=case.batch_size)
            how = {"config": config, "random_state": seed, "device": case.device, "show_progress_bar": False}
            model, loss = fit_bleep(train, np.full(len(train), "slide"), encoder=network(case), **how)
            query = embed_images(model, test.images, np.full(len(test), "slide"), device=case.device)
            keys = embed_expression(model, train.expression, device=case.device)
            predicted, _ = retrieval.impute(query, keys, train.expression, n_neighbors=min(50, len(keys)))
            centred = [each - each.mean(axis=0) for each in (np.asarray(predicted), test.expression)]
            size = np.sqrt(np.prod([np.square(each).sum(axis=0) for each in centred], axis=0))
            r = float(np.mean((centred[0] * centred[1]).sum(axis=0) / np.maximum(size, 1e-12)))
            print(f"| {name} | {seed} | {r:.4f} | {' '.join(f'{each:.3f}' for each in loss)} |", flush=True)


def features(case: Case, pairs: Pairs) -> None:
    """Print patches a second of a frozen encoder, beside bare forward passes on a batch that is there already."""
    device = torch.device(case.device)
    encoder, other = network(case), network(case)
    placed = other.network.eval().to(device).to(memory_format=torch.channels_last)
    part, _ = pairs.batch(torch.arange(min(64, len(pairs))))
    batch = other.transform(part.float() / 255).to(device)
    images = np.asarray(pairs.images)[: len(pairs) // len(part) * len(part)]

    def passes() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            torch.cat([placed(batch) for _ in range(len(images) // len(batch))]).cpu()

    ways = {
        "bare forward passes": passes,
        "encode": lambda: encode(encoder, images, device=device, show_progress_bar=False),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(4):
        for way, measure in ways.items():
            start = time.perf_counter()
            measure()
            if repeat:
                seconds[way].append(time.perf_counter() - start)
    print("\n| frozen encoder | patches a second |\n|---|---|")
    for way, each in seconds.items():
        print(f"| {way} | {len(images) / float(np.median(each)):.0f} |")


def sixteen_bits(case: Case, pairs: Pairs) -> None:
    """Print how far embeddings of patches with 16 bits are from those of the CPU, by an encoder that was trained."""
    some = pairs[np.arange(len(pairs)) < 256]
    config = replace(FitConfig.paper(), max_epochs=3, batch_size=64)
    how = {"config": config, "device": case.device, "show_progress_bar": False}
    slides = np.full(len(some), "slide")
    model, _ = fit_bleep(some, slides, encoder=network(case), **how)
    short = embed_images(model, some.images, slides, device=case.device)
    whole = embed_images(model.cpu(), some.images, slides)
    size = np.linalg.norm(short, axis=1) * np.linalg.norm(whole, axis=1)
    print(f"\nLeast cosine of an embedding with 16 bits and with 32: {((short * whole).sum(axis=1) / size).min():.5f}")


def processes(case: Case, folder: Path) -> None:
    """Train for a few epochs as one of the processes of a launcher, or alone; the first one leaves what came of it."""
    device = torch.device(case.device, int(os.environ["LOCAL_RANK"])) if case.device == "cuda" else case.device
    small = replace(case, n_spots=4 * case.batch_size, precision="float32", device=str(device))
    with joined(device) as group:
        config = replace(
            FitConfig.paper(),
            precision="float32",
            dropout=0.0,
            max_epochs=3,
            batch_size=case.batch_size,
            learning_rate=1e-5,
        )
        how = {"config": config, "device": device, "show_progress_bar": False}
        pairs = tissue(small)
        model, loss = fit_bleep(pairs, np.full(len(pairs), "slide"), encoder=network(small), **how)
        seconds = fitted(replace(small, precision="bfloat16"), 2, pairs)
        if is_first():
            weights = torch.cat([each.flatten().float().cpu() for each in model.state_dict().values()]).numpy()
            np.savez(folder / f"{group.n}.npz", loss=loss, weights=weights, rate=case.batch_size / np.median(seconds))


def two_gpus(case: Case) -> None:
    """Compare what one process and two come to."""
    if torch.cuda.device_count() < 2:
        print("\nThere are no two GPUs: processes that train together were not compared.")
        return
    with tempfile.TemporaryDirectory() as name:
        for n in (1, 2):
            launcher = [
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--local-addr=127.0.0.1",
                f"--nproc-per-node={n}",
            ]
            own = [
                __file__,
                "--process",
                json.dumps({"folder": name}),
                f"--spots={case.n_spots}",
                f"--side={case.side}",
            ]
            own += [f"--encoder={case.encoder}", f"--batch={case.batch_size}"]
            subprocess.run([sys.executable, *launcher, *own], check=True)
        one, two = (dict(np.load(Path(name) / f"{n}.npz")) for n in (1, 2))
    print("\n| | 1 process | 2 processes |\n|---|---|---|")
    print(f"| loss of every epoch | {one['loss'].round(5).tolist()} | {two['loss'].round(5).tolist()} |")
    print(f"| images a second | {one['rate']:.0f} | {two['rate']:.0f} |")
    print(f"\nLargest difference of a weight: {np.abs(one['weights'] - two['weights']).max():.2g}")


def main() -> None:
    """Run the parts, as long as there is time."""
    begun = time.perf_counter()
    names = ["speed", "features", "search", "parity", "heads", "chunks", "precision", "store", "processes"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--minutes", type=float, default=10, help="after which no part is begun")
    parser.add_argument("--epochs", type=int, default=2, help="whole epochs that are timed, after one that is not")
    parser.add_argument("--learn", type=int, default=5, help="epochs of the part on precision")
    parser.add_argument("--spots", type=int, default=PAPER.n_spots)
    parser.add_argument("--genes", type=int, default=PAPER.n_genes)
    parser.add_argument("--side", type=int, default=PAPER.side)
    parser.add_argument("--batch", type=int, default=PAPER.batch_size)
    parser.add_argument("--encoder", default=PAPER.encoder)
    parser.add_argument("--device", default=PAPER.device, help="another one than a GPU is for trying the script out")
    parser.add_argument("--process", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device: this benchmark cannot run here, and nothing was measured.")
    sizes = {"n_spots": arguments.spots, "n_genes": arguments.genes, "side": arguments.side}
    case = replace(PAPER, **sizes, batch_size=arguments.batch, encoder=arguments.encoder, device=arguments.device)
    if arguments.process is not None:
        processes(case, Path(arguments.process["folder"]))
        return
    print(f"{describe()}\n\n{case}", flush=True)
    pairs, device = tissue(case), torch.device(case.device)
    run = {
        "speed": lambda: speed(case, pairs, arguments.epochs),
        "features": lambda: features(case, pairs),
        "search": lambda: search(device),
        "parity": lambda: (parity(device), sixteen_bits(case, pairs)),
        "heads": lambda: heads(case, arguments.epochs),
        "chunks": lambda: chunks(case, pairs, arguments.epochs),
        "precision": lambda: precision(case, pairs, arguments.learn),
        "store": lambda: store(case, pairs, arguments.epochs),
        "processes": lambda: two_gpus(case),
    }
    for part in sorted(arguments.parts, key=names.index):
        minutes = (time.perf_counter() - begun) / 60
        if minutes > arguments.minutes:
            print(f"\n{part}: left out, since {minutes:.1f} minutes are over.", flush=True)
            continue
        try:
            run[part]()
        except Exception:  # noqa: BLE001, the others run all the same
            print(f"\n{part} failed:\n\n{traceback.format_exc()}", flush=True)
        print(f"\n({part}: {(time.perf_counter() - begun) / 60 - minutes:.1f} min)", flush=True)


if __name__ == "__main__":
    main()
