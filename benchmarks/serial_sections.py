"""Serial sections: what the same place of the neighbouring sections adds to BLEEP, and BLEEP to the place.

Every section of a breast tumour (her2st, C2 to C5) and of two olfactory bulbs (mob) is held out from the others, and
the bulbs of either animal from those of the other. `bleep_place` is the default of BLEEP, and `bs.tl.blend_place` after
it, on the same fitted reference; how far it goes by place is learnt on the reference. Fitted references are kept in a
folder, so that an interrupted call goes on where it was.

MOB4 is read from the folder that BLEEP_SC_DATA names.

    python benchmarks/serial_sections.py [--features lite0] [--runs FOLDER] [--out FILE] [--only "her2st;mob"]
"""

import argparse
import hashlib
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from fields_of_view import FEATURES, FIELDS_UM, STAINS, load, small_patches

import bleep_sc as bs
from bleep_sc._output.text import markdown_table

TUMOUR, BULBS = ("C2", "C3", "C4", "C5"), ("MOB1", "MOB2", "MOB3", "MOB4")
DONORS = {**dict.fromkeys(TUMOUR, "C"), "MOB1": "1", "MOB2": "1", "MOB3": "2", "MOB4": "2"}
N_RESAMPLES = 1000
OTHERS = ("location", "bleep")
"""What the blend is compared with, slide by slide."""


@dataclass(frozen=True)
class Question:
    """Which sections are held out together."""

    title: str
    data: str
    group_key: str
    held_out: tuple[str, ...]
    """Groups that are averaged."""


QUESTIONS = (
    Question("Breast tumour, C2 to C5, one held out after another", "her2st", "library_id", TUMOUR),
    Question("Olfactory bulb, animal 1 to 2", "mob", "donor", ("2",)),
    Question("Olfactory bulb, animal 2 to 1", "mob", "donor", ("1",)),
    Question("Olfactory bulb, one of four sections held out after another", "mob", "library_id", BULBS),
)


def prepared(data: str, features: str, cache: Path) -> tuple[AnnData, list[str]]:
    """Return counts, features and patches of the sections, and the keys of the features."""
    sections = TUMOUR if data == "her2st" else BULBS
    if features == "lite0":
        adata = load(data, cache, sections)
        small_patches(adata, data)
        use_rep = list(FEATURES)
    else:
        adata = bs.datasets.her2st(sections) if data == "her2st" else bs.datasets.mob(sections)
        sc.pp.filter_cells(adata, min_counts=100)
        bs.pp.extract_patches(adata, size=112, size_um=FIELDS_UM[data][0])
        bs.pp.image_features(adata, STAINS.removeprefix("X_"), show_progress_bar=False)
        use_rep = [STAINS]
    adata.obs = adata.obs.drop(columns=["patient", "animal"], errors="ignore")
    adata.obs["donor"] = [DONORS[name] for name in adata.obs["library_id"].astype(str)]
    return adata, use_rep


def fitted(
    train: AnnData, query: AnnData, seed: int, *, use_rep: list[str], config: bs.tl.FitConfig, runs: Path
) -> tuple[AnnData, AnnData]:
    """Return the reference with its model, and the query with what it imputed, from the folder if it was run before."""
    how = f"{bs.__version__} {config} {use_rep} {seed} {' '.join(train.obs_names)} {' '.join(train.var_names)}"
    name = hashlib.sha256(how.encode()).hexdigest()[:16]
    files = [runs / f"{name}_{side}.h5ad" for side in ("reference", "query")]
    if not all(file.exists() for file in files):
        bs.tl.fit(train, use_rep=use_rep, config=config, random_state=seed, show_progress_bar=False)
        bs.tl.impute(query, ref=train, genes=train.var_names[train.var["highly_variable"]].tolist())
        runs.mkdir(parents=True, exist_ok=True)
        for side, file in zip((train, query), files, strict=True):
            side.write_h5ad(file)
    train, query_again = (anndata.read_h5ad(file) for file in files)
    return train, query_again[query.obs_names].copy()


def bleep(train: AnnData, query: AnnData, random_state: int, **how) -> np.ndarray:
    """Predict by the default of BLEEP."""
    ref, query = fitted(train, query, random_state, **how)
    return query[:, ref.var["highly_variable"].to_numpy()].layers["bleep"]


def bleep_place(train: AnnData, query: AnnData, random_state: int, **how) -> np.ndarray:
    """Blend that with the same place of the other sections."""
    ref, query = fitted(train, query, random_state, **how)
    bs.tl.blend_place(query, ref)
    panel = ref.var["highly_variable"].to_numpy()
    share, record = query.var["bleep_place_share"][panel], query.uns["bleep_place_imputed"]["place"]
    width_um = re.search(r'"width_um": ([\d.]+)', record)[1]
    print(f"  {sorted(set(query.obs['library_id']))}: {width_um} µm, shares {share.quantile([0.1, 0.5, 0.9]).tolist()}")
    return query[:, panel].layers["bleep_place"]


def compared(question: Question, adata: AnnData, use_rep: list[str], runs: Path, epochs: int | None, seeds: int):
    """Return the table of a question, and the predictions of the first seed."""
    config = bs.tl.FitConfig() if epochs is None else replace(bs.tl.FitConfig(), max_epochs=epochs)
    how = {"use_rep": use_rep, "config": config, "runs": runs}
    methods = bs.bm.methods(["mean", "location", "ridge"], use_rep=use_rep)
    methods |= {"bleep": partial(bleep, **how), "bleep_place": partial(bleep_place, **how)}
    grouped = {"group_key": question.group_key, "donor_key": "donor", "use_rep": use_rep, "n_seeds": seeds}
    table, predictions = bs.bm.cross_validate(adata, methods, **grouped, return_predictions=True)
    kept = table["group"].isin(question.held_out) & (table["method"] != "permuted")
    return table[kept], {name: {g: each[g] for g in question.held_out} for name, each in predictions.items()}


def over_spots(question: Question, adata: AnnData, table: pd.DataFrame, predictions: dict) -> dict[str, np.ndarray]:
    """Return r over the most variable genes of the reference on resampled spots, mean over slides, by method."""
    data = adata.copy()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    result = {name: [] for name in predictions}
    slides = data.obs["library_id"].astype(str)
    for group in question.held_out:
        for slide in slides[data.obs[question.group_key].astype(str) == group].unique():
            genes = table.loc[(table["library"] == slide) & table["HVG_reference"], "gene"].unique()
            truth = data[slides == slide, genes].X.toarray().astype(np.float64)
            seed = int.from_bytes(hashlib.sha256(slide.encode()).digest()[:4], "little")
            n = len(truth)
            share = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), N_RESAMPLES) / n
            for name, of_group in predictions.items():
                values = of_group[group].loc[data.obs_names[slides == slide], genes].to_numpy(np.float64)
                result[name].append(_pearson_of_draws(share, values, truth))
    return {name: np.mean(each, axis=0) for name, each in result.items()}


def _pearson_of_draws(share: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    products = share @ (x * y) - (share @ x) * (share @ y)
    spreads = [np.maximum(share @ each**2 - (share @ each) ** 2, 0) for each in (x, y)]
    scale = np.sqrt(spreads[0] * spreads[1])
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-12).mean(axis=1)


def rows(table: pd.DataFrame, draws: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the rows of a question: correlations, and how far the blend is ahead of every other method."""
    summaries = {name: bs.bm.summarise(table, against=name) for name in table["method"].unique()}
    lines = []
    for name in table["method"].unique():
        own = summaries[name].query("method == @name").set_index(["gene_set", "genes_from"])["mean"]
        line = {"": name, "HVG": number(own["HVG", "reference"]), "HVG of the truth": number(own["HVG", "truth"])}
        line["all genes"] = number(own["all", "panel"])
        if name != "bleep_place":
            gain = summaries[name].query("method == 'bleep_place' and gene_set == 'HVG' and genes_from == 'reference'")
            spots = np.quantile(draws["bleep_place"] - draws[name], [0.025, 0.975])
            line |= {
                "blend ahead by": number(gain["gain"].iloc[0], "+"),
                "over slides": interval(gain["gain_lower"].iloc[0], gain["gain_upper"].iloc[0]),
                "over spots": interval(*spots),
            }
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def interval(lower: float, upper: float) -> str:
    """Write an interval."""
    return "" if np.isnan(lower) else f"[{number(lower, '+')}, {number(upper, '+')}]"


def number(value: float, sign: str = "") -> str:
    """Write a number as the documentation does, without the zero in front."""
    return "" if np.isnan(value) else re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{sign}.3f}").replace("-", "−")


NOTE = (
    "Mean Pearson r over the 50 most variable genes of the reference (HVG), of the held-out section, and all genes, "
    "mean over sections; what does not vary counts as zero. How far the blend is ahead is in HVG, paired section by "
    "section. Intervals hold 95 %: over slides as `bm.summarise` gives them (donors are resampled, then sections; of "
    "one donor sections alone, and two donors leave next to nothing known), and over spots, resampled within sections "
    "(neighbouring spots are alike, so these are too narrow)."
)


def main() -> None:
    """Run every question, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="stain_stats", choices=["stain_stats", "lite0"])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--runs", type=Path, default=Path("bleep_sc_runs") / "serial_sections")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serial_sections.md")
    parser.add_argument("--only", default=None, help="data, or parts of titles, separated by semicolons")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=None, help="for a quick look")
    arguments = parser.parse_args()
    wanted = arguments.only.split(";") if arguments.only else [""]
    asked = [each for each in QUESTIONS if any(word in f"{each.data}: {each.title}" for word in wanted)]
    trained = "" if arguments.epochs is None else f"; {arguments.epochs} epochs"
    parts, read = [f"{NOTE} Features: {arguments.features}{trained}.\n"], {}
    for question in asked:
        if question.data not in read:
            read = {question.data: prepared(question.data, arguments.features, arguments.cache)}
        adata, use_rep = read[question.data]
        print(question.title, flush=True)
        found = compared(question, adata, use_rep, arguments.runs, arguments.epochs, arguments.seeds)
        page = f"## {question.title}\n\n{markdown_table(rows(found[0], over_spots(question, adata, *found)))}"
        print(page, flush=True)
        parts.append(page)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
