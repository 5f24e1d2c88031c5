"""Processor seconds of `import bleep_sc` beside `import scanpy`, each in a fresh process, taking turns.

Also with the subpackages that a session uses, and whether torch was loaded on the way, which it must not be. Compiled
files are kept, as pip keeps them: they are written in the first round, which is not counted.

    python benchmarks/imports.py [--repeats 11]
"""

import argparse
import os
import resource
import subprocess
import sys

import numpy as np
from machine import describe

STATEMENTS = {
    "nothing": "pass",
    "scanpy": "import scanpy",
    "bleep_sc": "import bleep_sc",
    "bleep_sc, with pp, tl and pl": "import bleep_sc as bs; bs.pp.image_features, bs.tl.fit, bs.pl.spatial",
}


COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def used() -> float:
    """Return the processor time of all processes that were started so far and have ended, s."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds(statement: str) -> float:
    """Return how long a fresh interpreter takes, from start to end, on a processor."""
    start = used()
    subprocess.run([sys.executable, "-c", statement], check=True, env=COMPILED)
    return used() - start


def loads_torch(statement: str) -> bool:
    """Tell whether torch is loaded after a statement."""
    question = f"import sys; {statement}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    return done.stdout.split() == ["True"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for repeat in range(arguments.repeats + 1):  # the first one reads files from disk, and compiles them
        for name, statement in STATEMENTS.items():
            took = seconds(statement)
            if repeat:
                times[name].append(took)
    medians = {name: float(np.median(each)) for name, each in times.items()}
    print(describe(), end="\n\n")
    print("| import | s | of scanpy | without the interpreter | loads torch |\n|---|---|---|---|---|")
    for name, took in medians.items():
        own, of_scanpy = (medians[each] - medians["nothing"] for each in (name, "scanpy"))
        loads = "yes" if loads_torch(STATEMENTS[name]) else "no"
        print(f"| {name} | {took:.2f} | {took / medians['scanpy']:.2f} | {own / of_scanpy:.2f} | {loads} |")


if __name__ == "__main__":
    main()
