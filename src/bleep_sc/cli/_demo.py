"""``bleep-sc demo``: the main job on tissue that is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._output.disk import all_appear
from bleep_sc.cli._files import OVERWRITE, require_free, write_h5ad

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

N_TOP_GENES = {"toy": 40, "her2st": 1000}
MIN_COUNTS = 100
ENCODER = "stain_stats"
HELD_OUT = {"toy": "slice4", "her2st": "C4"}
GENES_TO_DRAW = {"toy": ("CYP3A4", "HAL"), "her2st": ("SCGB2A2", "HLA-DRA")}

WRITTEN = ("levels.png", "patterns.png", "query.h5ad", "reference.h5ad", "scores.csv")


@click.command()
@click.option("--data", type=click.Choice(["toy", "her2st"]), default="toy", show_default=True, help="Which tissue.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bleep_sc_demo"),
    show_default=True,
    help="Folder for the AnnData and the figures.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is random.")
@OVERWRITE
def demo(data: str, out: Path, seed: int, overwrite: bool) -> None:
    """Train on all slides but one, impute that one, and score it beside the baselines.

    "toy" is generated on the spot; "her2st" is real breast tumour, from the folder BLEEP_SC_DATA or downloaded.
    """
    require_free(*(out / name for name in WRITTEN), overwrite=overwrite)
    held_out = HELD_OUT[data]
    click.echo(f"Preparing {data} tissue; slide {held_out} is held out.")
    adata = _prepare(data, seed)
    is_query = adata.obs["library_id"] == held_out
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=N_TOP_GENES[data])
    panel = ref.var_names[ref.var["highly_variable"]].tolist()
    click.echo(f"Training on {ref.n_obs} spots of {ref.obs['library_id'].nunique()} slides and {len(panel)} genes.")
    use_rep = keys.features(ENCODER)
    bs.tl.fit(ref, use_rep=use_rep, random_state=seed)
    bs.tl.fit_ridge(ref, use_rep=use_rep)
    bs.tl.impute(query, ref=ref, genes=panel)
    bs.tl.predict(query, ref=ref, key="ridge")
    _predict_mean(query, ref)
    table = _score(query)
    click.echo(
        f"\nSlide {held_out}: mean Pearson r over the {len(panel)} genes of the panel (all), and over the 50 of them "
        "with the highest mean (HEG) and variance (HVG) there."
    )
    click.echo(table.to_string(float_format="{:.3f}".format) + "\n")
    remedy = f"Nothing was written to {str(out)!r}: make room and call again."
    with all_appear(out, remedy, replace=overwrite) as drafts:
        _draw(query, [gene for gene in GENES_TO_DRAW[data] if gene in panel] or panel[:2], drafts)
        for name, each in (("reference", ref), ("query", query)):
            del each.obsm["patches"]
            write_h5ad(each, drafts / f"{name}.h5ad", compression="gzip")
        table.to_csv(drafts / "scores.csv")
    click.echo(
        f"Written to {out}: {', '.join(WRITTEN)}\n"
        "patterns.png has a scale for every panel, and shows where a gene is high; levels.png has one for both sides, "
        "on which predictions are paler, since they are means.\n"
        f"Next: bleep-sc impute SLIDE --ref {out / 'reference.h5ad'} --out slide.zarr, or docs/quickstart.md in Python."
    )


def _prepare(data: str, seed: int) -> AnnData:
    """Load slides, log-normalise them, and describe the patches."""
    import scanpy as sc

    if data == "toy":
        adata = bs.datasets.toy(random_state=seed)
        bs.pp.extract_patches(adata, size=112, size_um=112)
    else:
        adata = bs.datasets.her2st()
        bs.pp.extract_patches(adata)  # 224 px of the full-resolution image, as in the paper
    sc.pp.filter_cells(adata, min_counts=MIN_COUNTS)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.image_features(adata, ENCODER)
    return adata


def _predict_mean(query: AnnData, ref: AnnData) -> None:
    """Write the mean of the training spots beside the predictions."""
    import numpy as np

    query.var["mean_predicted"] = ref.var["highly_variable"]
    query.layers["mean"] = np.full(query.shape, np.nan, dtype=np.float32)
    query.layers["mean"][:, ref.var["highly_variable"]] = bs.bm.methods(["mean"])["mean"](ref, query)


def _score(query: AnnData) -> pd.DataFrame:
    """Score every method; rows are methods, columns gene sets."""
    import pandas as pd

    rows = {}
    names = {"bleep": "BLEEP", "ridge": "ridge, same features", "mean": "mean of training spots"}
    bs.tl.score(query, list(names))
    for layer, name in names.items():
        scores = query.uns[f"{layer}_score"].query("library == 'mean'").set_index("gene_set")["pearson"]
        rows[name] = scores
    return pd.DataFrame(rows).T.rename_axis("method").rename_axis(None, axis=1)


def _draw(query: AnnData, genes: list[str], out: Path) -> None:
    """Draw predicted beside measured expression, without a display."""
    from matplotlib.figure import Figure

    for name, share_scale in (("patterns", False), ("levels", True)):
        figure = Figure(figsize=(9, 3.8 * len(genes)), layout="constrained")
        axes = figure.subplots(len(genes), 2, squeeze=False)
        bs.pl.spatial(query, genes, layer=[None, "bleep"], share_scale=share_scale, ax=axes)
        figure.savefig(out / f"{name}.png", dpi=150)
