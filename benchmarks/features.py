"""Features of a frozen encoder beside bare forward passes of the same network on the same batches.

The bare passes take batches that are in memory, normalised already, channel by channel or channels last. encode takes
patches in memory and from a zarr store, with and without a process that reads ahead, whose start is included;
pp.image_features also names and hashes the encoder. All take turns, after a round that does not count; the table has
medians and ratios, and the peak memory of a process that does nothing else, for so many patches and four times as many.

    python benchmarks/features.py [--encoder resnet50] [--patches 256] [--side 224] [--threads 2] [--repeats 5]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from anndata import AnnData
from machine import describe
from training import peak

import bleep_sc as bs
from bleep_sc.models.encode import encode
from bleep_sc.models.encoders import Encoder, load_encoder
from bleep_sc.slides._lazy import StoredPatches
from bleep_sc.slides._store import write_store

BATCH = 64
BARE = "bare forward passes"
IN_MEMORY, STORED, READ_AHEAD = "encode, in memory", "encode, from a store", "encode, from a store, read ahead"
ON_ADATA = "pp.image_features, in memory"


def made_up(n: int, side: int) -> np.ndarray:
    """Return patches that compress about as tissue does: noise of half the resolution."""
    half = np.random.default_rng(0).integers(0, 256, (n, side // 2, side // 2, 3), dtype=np.uint8)
    return half.repeat(2, axis=1).repeat(2, axis=2)


def stored(folder: Path, n: int, side: int) -> StoredPatches:
    """Return patches in a store, which is written where it is not there."""
    path = folder / f"{n}-{side}"
    write_store(path, lambda done: iter([made_up(n, side)[done:]]), n=n, size=side, recipe={"n": n, "side": side})
    return StoredPatches((str(path),), np.zeros(n, dtype=np.intp), np.arange(n))


def bare(encoder: Encoder, batches: list[torch.Tensor]) -> None:
    """Pass batches through the network and keep what comes out."""
    with torch.inference_mode():
        torch.cat([encoder.network(batch) for batch in batches]).numpy()


def ways(encoder: Encoder, folder: Path, n: int, side: int) -> dict[str, Callable[[], object]]:
    """Return the ways to compute the same features."""
    patches, lazy = made_up(n, side), stored(folder, n, side)
    adata = AnnData(np.zeros((n, 1), dtype=np.float32), obsm={"patches": patches})
    images = torch.from_numpy(patches).permute(0, 3, 1, 2).contiguous()
    batches = [encoder.transform(batch.float() / 255) for batch in images.split(BATCH)]
    last = [batch.contiguous(memory_format=torch.channels_last) for batch in batches]
    quiet = {"batch_size": BATCH, "show_progress_bar": False}
    return {
        BARE: lambda: bare(encoder, batches),
        f"{BARE}, channels last": lambda: bare(encoder, last),
        IN_MEMORY: lambda: encode(encoder, patches, **quiet),
        STORED: lambda: encode(encoder, lazy, **quiet),
        READ_AHEAD: lambda: encode(encoder, lazy, num_workers=1, **quiet),
        ON_ADATA: lambda: bs.pp.image_features(adata, encoder, device="cpu", **quiet),
    }


def peak_alone(arguments: argparse.Namespace, way: str, n: int, folder: Path) -> float:
    """Return the GiB of a process that computes features in one way."""
    case = json.dumps({"way": way, "n": n, "folder": str(folder)})
    own = [f"--{name}={getattr(arguments, name)}" for name in ("encoder", "side", "threads")]
    done = subprocess.run([sys.executable, __file__, *own, "--one", case], stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def one(encoder: Encoder, side: int, way: str, n: int, folder: Path) -> None:
    """Compute features in one way and print the peak memory; patches are made, or read from the store."""
    images = stored(folder, n, side) if way == STORED else made_up(n, side)
    encode(encoder, images, batch_size=BATCH, show_progress_bar=False)
    print(peak())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="resnet50", help="name of a torchvision model; its weights are random")
    parser.add_argument("--patches", type=int, default=256)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    encoder = load_encoder(arguments.encoder, pretrained=False).eval()
    if arguments.one is not None:
        one(encoder, arguments.side, arguments.one["way"], arguments.one["n"], Path(arguments.one["folder"]))
        return
    print(f"{describe()}\n\n{arguments.encoder}, {arguments.patches} patches of {arguments.side} px\n")
    with tempfile.TemporaryDirectory() as name:
        folder, n = Path(name), arguments.patches
        seconds: dict[str, list[float]] = {}
        computed = ways(encoder, folder, n, arguments.side)
        for repeat in range(arguments.repeats + 1):
            for way, compute in computed.items():
                start = time.perf_counter()
                compute()
                if repeat:
                    seconds.setdefault(way, []).append(time.perf_counter() - start)
        medians = {way: float(np.median(each)) for way, each in seconds.items()}
        print("| | patches a second | time, of bare passes |\n|---|---|---|")
        for way, each in medians.items():
            print(f"| {way} | {n / each:.1f} | {each / medians[BARE]:.3f} |")
        print(f"\n| peak, GiB | {n} patches | {4 * n} patches |\n|---|---|---|")
        for way in (IN_MEMORY, STORED):
            stored(folder, 4 * n, arguments.side)  # not written by the process that is measured
            peaks = [peak_alone(arguments, way, size, folder) for size in (n, 4 * n)]
            print(f"| {way} | {peaks[0]:.2f} | {peaks[1]:.2f} |")


if __name__ == "__main__":
    main()
