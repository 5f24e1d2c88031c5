"""What few or small held-out slides teach, where the truth is known: intervals and predictability by simulation.

Half of the genes follow a signal that the image shows, half do not. The levels of slides differ from gene to gene by a
share of the noise of a spot. Every slide is predicted at the mean level of the others, as by a model that has not seen
it, and a further slide from all of them. Printed: how often 90 % intervals hold the values of the further slide, and
how wide they are in units of the noise; how many of the genes that nothing predicts are said to have a predictability
of .2 or more, and how far that of the others is off.

    python benchmarks/few_slides.py [--draws 25]
"""

import argparse

import numpy as np
import pandas as pd

from bleep_sc.models.calibration import interval_scale
from bleep_sc.training.calibration import calibrate
from bleep_sc.training.cross_fit import HeldOut

CASES = {
    "2 slides of 150": ([150, 150], 0.0),
    "2 of 150 that differ by .3": ([150, 150], 0.3),
    "2 of 150 that differ by 1": ([150, 150], 1.0),
    "3 of 150 that differ by .3": ([150] * 3, 0.3),
    "3 of 150 that differ by 1": ([150] * 3, 1.0),
    "5 of 150 that differ by 1": ([150] * 5, 1.0),
    "2 slides of 20": ([20, 20], 0.0),
    "2 of 20 that differ by .3": ([20, 20], 0.3),
    "3 slides of 20": ([20] * 3, 0.0),
    "2 of 150 and 1 of 2": ([150, 150, 2], 0.0),
}
N_GENES, N_FURTHER, SIGNAL, BLUR = 60, 50, 0.7, 0.4


def spots(random: np.random.Generator, level: np.ndarray, known: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Draw spots of a slide of some level, predicted at another; (n, n_genes) each."""
    shown = np.arange(N_GENES) < N_GENES // 2
    signal = SIGNAL * random.normal(size=(n, N_GENES))
    parts = {"truth": level + signal + random.normal(size=(n, N_GENES))}
    for name in ("retrieved", "regressed"):
        parts[name] = known + shown * signal + BLUR * random.normal(size=(n, N_GENES))
    parts["variance"] = random.uniform(0.6, 1.4, size=(n, N_GENES))
    return {name: values.astype(np.float32) for name, values in parts.items()}


def draw(random: np.random.Generator, sizes: list[int], apart: float) -> dict[str, float]:
    """Calibrate on slides of such sizes, and judge what is said of a further one."""
    levels = apart * random.normal(size=(len(sizes), N_GENES))
    others = (levels.sum(axis=0) - levels) / (len(sizes) - 1)
    slides = [spots(random, *each) for each in zip(levels, others, sizes, strict=True)]
    parts = {name: np.concatenate([each[name] for each in slides]) for name in slides[0]}
    names = np.repeat([f"slide{i}" for i in range(len(sizes))], sizes)
    similarity, rows = random.random(len(names)).astype(np.float32), np.arange(len(names))
    known = calibrate(HeldOut(names, names, **parts, similarity=similarity, rows=rows))
    further = spots(random, apart * random.normal(size=N_GENES), levels.mean(axis=0), N_FURTHER)
    predicted = further["retrieved"] + known.shrinkage * (further["regressed"] - further["retrieved"])
    scale = interval_scale(further["variance"], known.std)
    low, high = (known.end(probability, predicted, scale) for probability in (0.05, 0.95))
    r, half = known.predictability, N_GENES // 2
    best = SIGNAL / np.sqrt((1 + BLUR**2 / SIGNAL**2 / 2) * (1 + SIGNAL**2))
    return {
        "held by 90 %": ((further["truth"] >= low) & (further["truth"] <= high)).mean(),
        "width": (high - low).mean(),
        "≥ .2 of no predictability": np.mean(r[half:] >= 0.2),
        "error of the others'": np.abs(r[:half] - best).mean(),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=25)
    draws = parser.parse_args().draws
    table = {}
    for name, (sizes, apart) in CASES.items():
        random = np.random.default_rng(0)
        table[name] = pd.DataFrame([draw(random, sizes, apart) for _ in range(draws)]).mean()
    print(pd.DataFrame(table).T.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
