"""Another donor first: what every method reaches on one, what it promises, and how that compares with neighbours.

Breast tumours (her2st) from patient C to B and back, olfactory bulbs (mob) from animal 1 to 2 and back, and, apart from
these, neighbouring sections of one tumour (C2 to C5, one left out after another). Nothing of the held-out slides takes
part in fitting: genes are chosen on the reference, and queries have no expression when they are predicted. Features of
EfficientNet-Lite0 are kept in a folder, and so is every run: an interrupted call goes on where it was. Methods that
draw nothing run once.

B4 and MOB4 are read from the folder that BLEEP_SC_DATA names.

    python benchmarks/donors.py [--cache FOLDER] [--runs FOLDER] [--out FOLDER] [--seeds 5] [--rows "a;b"] [--epochs 5]
"""

import argparse
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from donor_methods import DEFAULT, SHARE, Arrays, Part, Row, rows, run, slides_of
from fields_of_view import load, small_patches
from scipy.stats import t

import bleep_sc as bs
from bleep_sc._output.text import markdown_table

TUMOUR = ("C2", "C3", "C4", "C5")
DONORS = {"B4": "B", **dict.fromkeys(TUMOUR, "C"), "MOB1": "1", "MOB2": "1", "MOB3": "2", "MOB4": "2"}
N_BEST, N_FIFTHS, N_RESAMPLES = 50, 5, 1000
TRUSTED, FALSE = 0.3, 0.1
"""A gene is trusted from the former predictability on, and falsely so if it reaches less than the latter."""


@dataclass(frozen=True)
class Direction:
    """From which sections to which, in one or several parts."""

    name: str
    data: str
    parts: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """Sections of the reference, and of the query."""
    is_aligned: bool = False
    """Whether sections can be laid on each other, so that location copy means something."""


DIRECTIONS = (
    Direction("Another donor: breast tumour, C2 to C5 of patient C to B4 of patient B", "her2st", ((TUMOUR, ("B4",)),)),
    Direction("Another donor: breast tumour, B4 of patient B to C2 to C5 of patient C", "her2st", ((("B4",), TUMOUR),)),
    Direction("Another donor: olfactory bulb, animal 1 to 2", "mob", ((("MOB1", "MOB2"), ("MOB3", "MOB4")),), True),
    Direction("Another donor: olfactory bulb, animal 2 to 1", "mob", ((("MOB3", "MOB4"), ("MOB1", "MOB2")),), True),
    Direction(
        "Another section of the same donor: breast tumour, C2 to C5, one left out after another",
        "her2st",
        tuple((tuple(each for each in TUMOUR if each != name), (name,)) for name in TUMOUR),
        True,
    ),
)


def scores(part: Part, found: Arrays, slide: str, spots: np.ndarray) -> dict[str, float]:
    """Return every number of one slide; correlations of what does not vary count as zero."""
    truth, values = part.truth[spots], found["values"][spots]
    r = np.nan_to_num(bs.metrics.pearson(values, truth))
    own = bs.metrics.highest_genes(truth, np.full(len(spots), slide), by="variance")
    result = {"HVG": r[part.variable].mean(), "HVG of the truth": r[own].mean(), "all genes": r.mean()}
    promised = found.get("promised", np.full(len(r), np.nan))
    known = np.flatnonzero(np.isfinite(promised))
    if len(known):
        best, trusted = known[np.argsort(-promised[known], kind="stable")[:N_BEST]], promised > TRUSTED
        result |= {"promised": promised[best].mean(), "reached": r[best].mean(), "trusted": trusted.sum()}
        result["false trust"] = (r[trusted] < FALSE).mean() if trusted.any() else np.nan
    if "lower" in found:
        ends = np.quantile(part.known, [(1 - SHARE) / 2, (1 + SHARE) / 2], axis=0)
        genes = np.isfinite(found["lower"]).all(axis=0)
        blind = (np.broadcast_to(end, truth.shape)[:, genes] for end in ends)
        own_ends = (found[name][spots][:, genes] for name in ("lower", "upper"))
        for name, (lower, upper) in {"": own_ends, " of quantiles": blind}.items():
            result[f"score{name}"] = bs.metrics.interval_score(lower, upper, truth[:, genes], share=SHARE).mean()
            result[f"covered{name}"] = ((truth[:, genes] >= lower) & (truth[:, genes] <= upper)).mean()
    if "confidence" in found:
        error = np.square(truth - values)[:, part.variable] / part.known[:, part.variable].var(axis=0)
        fifths = np.array_split(np.argsort(found["confidence"][spots], kind="stable"), N_FIFTHS)
        result |= {f"fifth {i + 1}": error[each].mean() for i, each in enumerate(fifths)}
    return result


def resampled(part: Part, found: Arrays, slide: str, spots: np.ndarray) -> np.ndarray:
    """Return the mean correlation over the most variable genes of the reference on resampled spots, (n_resamples,).

    All methods see the same draws of a slide.
    """
    seed = int.from_bytes(hashlib.sha256(slide.encode()).digest()[:4], "little")
    times = np.random.default_rng(seed).multinomial(len(spots), np.full(len(spots), 1 / len(spots)), N_RESAMPLES)
    share = times / len(spots)
    x, y = (side[spots][:, part.variable].astype(np.float64) for side in (found["values"], part.truth))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    products = share @ (x * y) - (share @ x) * (share @ y)
    spreads = [np.maximum(share @ each**2 - (share @ each) ** 2, 0) for each in (x, y)]
    scale = np.sqrt(spreads[0] * spreads[1])
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-12).mean(axis=1)


@dataclass(frozen=True)
class Measured:
    """What all runs of a row reached in one direction."""

    table: pd.DataFrame
    """A row for every seed and slide."""
    resamples: np.ndarray
    """Mean over seeds and slides on resampled spots, (n_resamples,)."""

    @property
    def by_seed(self) -> pd.Series:
        """The mean over slides of every seed."""
        return self.table.groupby("seed")["HVG"].mean()

    @property
    def means(self) -> pd.Series:
        """The mean over slides, then over seeds."""
        return self.table.drop(columns="slide").groupby("seed").mean().mean()


def measure(parts: list[Part], name: str, row: Row, seeds: int, folder: Path) -> Measured:
    """Run a method in all parts of a direction."""
    lines, resamples = [], []
    for part in parts:
        for seed in range(seeds if row.is_random else 1):
            found = run(part, name, row, seed, folder)
            for slide, spots in part.slides():
                lines.append({"seed": seed, "slide": slide, **scores(part, found, slide, spots)})
                resamples.append(resampled(part, found, slide, spots))
    return Measured(pd.DataFrame(lines), np.mean(resamples, axis=0))


def difference(default: Measured, other: Measured) -> dict[str, str]:
    """Return how far the default is ahead, with its intervals over spots and over seeds, both paired."""
    seeds = default.by_seed - (other.by_seed if len(other.by_seed) > 1 else other.by_seed.iloc[0])
    spots = np.quantile(default.resamples - other.resamples, [0.025, 0.975])
    over_seeds = ""
    if len(seeds) > 1:
        reach = t.ppf(0.975, len(seeds) - 1) * seeds.std() / np.sqrt(len(seeds))
        over_seeds = interval(seeds.mean() - reach, seeds.mean() + reach)
    return {"default ahead by": number(seeds.mean(), "+"), "over spots": interval(*spots), "over seeds": over_seeds}


def interval(lower: float, upper: float) -> str:
    """Write an interval."""
    return f"[{number(lower, '+')}, {number(upper, '+')}]"


def number(value: float, sign: str = "") -> str:
    """Write a number as the documentation does, without the zero in front."""
    return "" if np.isnan(value) else re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{sign}.3f}").replace("-", "−")


def correlations(measured: dict[str, Measured]) -> pd.DataFrame:
    """Return the correlations of every row of one direction, and how far the default is ahead."""
    lines = []
    for name, each in measured.items():
        line = {"": name, **{key: number(each.means[key]) for key in ("HVG", "HVG of the truth", "all genes")}}
        if DEFAULT in measured:
            line |= difference(measured[DEFAULT], each) if name != DEFAULT else {}
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def of_itself(measured: dict[str, Measured], columns: dict[str, str], otherwise: str) -> pd.DataFrame:
    """Return what the models of one direction said of themselves, and what came of it."""
    lines = []
    for name, each in measured.items():
        means = each.means.reindex(list(columns))
        if name.startswith("BLEEP, "):
            texts = [f"{means[key]:.0f}" if key == "trusted" else number(means[key]) for key in columns]
            if means.isna().all():
                texts = [otherwise, *[""] * (len(columns) - 1)]
            lines.append({"": name, **dict(zip(columns.values(), texts, strict=True))})
    return pd.DataFrame(lines)


PAGES = {
    "promises": (
        {
            "promised": f"promised, {N_BEST} best",
            "reached": "reached by them",
            "trusted": f"genes promised over {number(TRUSTED)}",
            "false trust": f"share of these below {number(FALSE)}",
        },
        "not promised",
    ),
    "intervals": (
        {
            "score": "interval score",
            "score of quantiles": "of the quantiles of the reference",
            "covered": "covered",
            "covered of quantiles": "by the quantiles",
        },
        "no intervals",
    ),
    "confidence": ({f"fifth {i + 1}": f"fifth {i + 1}" for i in range(N_FIFTHS)}, "no confidence"),
}
"""Numbers and what tables call them, and what stands where there are none."""
NOTES = {
    "correlation": f"Mean Pearson r over the {N_BEST} most variable genes of the reference (HVG), of the held-out "
    "slide, and all genes, mean over slides and seeds; what does not vary counts as zero. How far the default is ahead "
    "is in HVG. Intervals hold 95 %: over spots, resampled within slides, the same draws for both (neighbouring spots "
    "are alike, so these are too narrow, and say nothing of a further donor), and over seeds (Student's t).",
    "promises": "Mean predictability of the genes of which most was promised, beside the correlation that they "
    "reached, and how many genes were trusted, and how many of these falsely.",
    "intervals": f"Intervals of {SHARE:.0%} beside quantiles of the reference that look at no image; a lower score is "
    "better.",
    "confidence": "Squared error of the most variable genes of the reference in units of their variance there, by "
    "fifths of the spots from the least confident on.",
}


def prepared(data: str, cache: Path) -> AnnData:
    """Load the sections of both donors, log-normalised, with their donors."""
    sections = [
        name for each in DIRECTIONS if each.data == data for part in each.parts for side in part for name in side
    ]
    adata = load(data, cache, tuple(dict.fromkeys(sections)))
    small_patches(adata, data)
    adata.obs = adata.obs.drop(columns=["patient", "animal"], errors="ignore")
    adata.obs["donor"] = [DONORS[name] for name in slides_of(adata)]
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def write(out: Path, measured: dict[str, dict[str, Measured]]) -> None:
    """Write a page for every kind of number, and the numbers of every run and slide; print the pages."""
    tables = {"correlation": {direction: correlations(each) for direction, each in measured.items()}}
    for name, how in PAGES.items():
        tables[name] = {direction: of_itself(each, *how) for direction, each in measured.items()}
    out.mkdir(parents=True, exist_ok=True)
    for name, by_direction in tables.items():
        parts = [f"## {direction}\n\n{markdown_table(each)}" for direction, each in by_direction.items() if len(each)]
        page = "\n".join([f"{NOTES[name]}\n", *parts])
        (out / f"{name}.md").write_text(page, encoding="utf-8")
        print(f"\n{page}")
    runs = [
        each.table.assign(direction=direction, method=name)
        for direction, of_direction in measured.items()
        for name, each in of_direction.items()
    ]
    pd.concat(runs).to_csv(out / "runs.csv", index=False, float_format="%.5f")


def is_for(row: Row, direction: Direction) -> bool:
    """Tell whether a row is one of the table of a direction."""
    same_donor = direction.name.startswith("Another section")
    return (direction.is_aligned or not row.needs_alignment) and not (row.of_donors and same_donor)


def main() -> None:
    """Run every row in every direction, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--runs", type=Path, default=Path("bleep_sc_runs") / "donors", help="folder for predictions")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "donors")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", default=None, help="names, separated by semicolons")
    parser.add_argument("--data", default=None, choices=["her2st", "mob"])
    parser.add_argument("--epochs", type=int, default=None, help="for a quick look")
    arguments = parser.parse_args()
    every = rows(arguments.epochs)
    chosen = arguments.rows.split(";") if arguments.rows else list(every)
    measured: dict[str, dict[str, Measured]] = {}
    for data in [arguments.data] if arguments.data else ["her2st", "mob"]:
        adata = prepared(data, arguments.cache)
        for direction in [each for each in DIRECTIONS if each.data == data]:
            print(direction.name, flush=True)
            parts = [Part(adata, data, *names) for names in direction.parts]
            fitting = [name for name in chosen if is_for(every[name], direction)]
            measured[direction.name] = {
                name: measure(parts, name, every[name], arguments.seeds, arguments.runs) for name in fitting
            }
    order = [each.name for each in DIRECTIONS if each.name in measured]  # another donor before neighbours
    write(arguments.out, {name: measured[name] for name in order})


if __name__ == "__main__":
    main()
