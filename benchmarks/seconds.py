"""Seconds to train the default on three sections of her2st and to impute the fourth, from features that are there.

Features of EfficientNet-Lite0 at three fields of view, 3840 in all; the time is that of tl.fit, with the models that
are trained to learn what predictions are worth, and of tl.impute of all genes and of the panel with intervals.

    python benchmarks/seconds.py [--cache FOLDER] [--threads 2]
"""

import argparse
import time
from pathlib import Path

import torch
from fields_of_view import load
from her2st import split
from uncertainty import REPS, log_normalised

import bleep_sc as bs


def main() -> None:
    """Print the seconds of every step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ref, query, genes = split(log_normalised(load("her2st", arguments.cache)), "C4")
    steps = {
        "fit, without cross-fitting": lambda: bs.tl.fit(
            ref, use_rep=REPS, config=bs.tl.FitConfig(cross_fit=False), show_progress_bar=False
        ),
        "fit": lambda: bs.tl.fit(ref, use_rep=REPS, show_progress_bar=False),
        "impute all genes": lambda: bs.tl.impute(query, ref=ref),
        "impute the panel with intervals": lambda: bs.tl.impute(query, ref=ref, genes=genes, interval=0.9),
    }
    for name, step in steps.items():
        start, busy = time.perf_counter(), time.process_time()
        step()
        print(f"{name}: {time.perf_counter() - start:.1f} s, {time.process_time() - busy:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
