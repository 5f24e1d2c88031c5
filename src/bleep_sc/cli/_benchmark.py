"""``bleep-sc benchmark``: compare methods without leaks."""

from __future__ import annotations

from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

import click

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc.cli._demo import ENCODER, MIN_COUNTS, N_TOP_GENES
from bleep_sc.tl._score import MARKERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

PATCH_SIZES = {"toy": (112, 112.0), "mob": (224, 560.0)}
"""Side in px and in µm; other tissue has 224 px of the full-resolution image, as in the paper."""
SAID = {"paper": "published", "small": "small", "both": "published, and BLEEP by default"}
ALWAYS, ALL, QUICK = ("mean", "location"), "all", "default"


@click.command()
@click.option(
    "--data",
    default="toy",
    show_default=True,
    help="toy, her2st, mob, or an h5ad file with raw counts, obsm['spatial'], obs['library_id'] and patches or images; "
    "liver, or liver=FOLDER, for the paper's own data.",
)
@click.option(
    "--methods",
    default=QUICK,
    show_default=True,
    help="Names, separated by commas; mean and location copy are always among them. 'default': those that take "
    "minutes. 'all': every method that can run, hours with networks as published.",
)
@click.option("--encoder", default=ENCODER, show_default=True, help="Frozen encoder; 'none' trains on the patches.")
@click.option("--group-key", default="library_id", show_default=True, help="Column of obs that names what is held out.")
@click.option(
    "--donor-key",
    default=None,
    help="Column of obs that names whose tissue a spot is. Default: patient, donor, animal or their like.",
)
@click.option("--paper", "networks", flag_value="paper", default=True, help="Networks as published. The default.")
@click.option("--small", "networks", flag_value="small", help="Small networks, and BLEEP by default.")
@click.option("--both", "networks", flag_value="both", help="Networks as published, and BLEEP by default beside them.")
@click.option(
    "--ablation", is_flag=True, help="BLEEP as published with 1, 10, 50 and 100 neighbours too (the paper's table 2)."
)
@click.option("--against", default=None, help="The method from which differences are taken. Default: location copy.")
@click.option("--batch-correct", is_flag=True, help="Train BLEEP on Harmony's output, as the paper does.")
@click.option(
    "--n-top-genes",
    type=click.IntRange(min=1),
    default=None,
    help="Most variable genes of each training slide. Default: 1000; 40 of the toy's.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many seeds.")
@click.option(
    "--one-seed",
    default="",
    help="Names, separated by commas, of methods that run with the first seed alone, since they take long.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bleep_sc_benchmark"),
    show_default=True,
    help="Folder for tables, figures and report; an interrupted run goes on there.",
)
def benchmark(
    data: str,
    methods: str,
    encoder: str,
    group_key: str,
    donor_key: str | None,
    networks: str,
    ablation: bool,
    against: str | None,
    batch_correct: bool,
    n_top_genes: int | None,
    seeds: int,
    one_seed: str,
    out: Path,
) -> None:
    """Compare methods by leaving out one slide after another, and write the paper's tables and figures.

    A method that fails is left out, and named at the end.

    \b
    All tables and figures of the paper, on tissue that is at hand:
      bleep-sc benchmark --data her2st --small --ablation --seeds 3
    The paper, on a GPU:
      bleep-sc benchmark --data liver=FOLDER --encoder none --batch-correct --ablation --seeds 3
    """  # noqa: D301 - click wants the character
    if out.exists() and any(out.iterdir()) and not (out / "runs").is_dir():
        raise click.UsageError(f"{out} holds other files, which tables and figures may replace. Pass another --out.")
    adata = _load(data)
    _check_column(adata, group_key, "--group-key")
    if donor_key is not None:
        _check_column(adata, donor_key, "--donor-key")
    use_rep = None if encoder == "none" else keys.features(encoder)
    names = _names(methods)
    to_compare = bs.bm.methods(
        {(): None, (QUICK,): None, (ALL,): "all"}.get(tuple(names), list(dict.fromkeys([*ALWAYS, *names]))),
        use_rep=use_rep,
        paper="both" if networks == "both" else networks == "paper",
        batch_correct=batch_correct,
        ablation=ablation,
        show_progress_bar=True,
    )
    _check_compared(to_compare, {"--against": [against] if against else [], "--one-seed": _names(one_seed)})
    seeded = [name for name in _names(one_seed) if "random_state" in signature(to_compare[name]).parameters]
    to_compare |= {name: partial(to_compare[name], random_state=0) for name in seeded}
    if use_rep is not None and use_rep not in adata.obsm:
        bs.pp.image_features(adata, encoder)
    compared = bs.bm.cross_validate(
        adata,
        to_compare,
        group_key=group_key,
        donor_key=donor_key,
        use_rep=use_rep,
        n_top_genes=n_top_genes or N_TOP_GENES.get(data, 1000),
        markers=_markers(adata, data),
        n_seeds=seeds,
        path=out / "runs",
        keep_going=True,
        return_predictions=True,
    )
    bs.bm.report(
        adata,
        compared,
        out,
        group_key=group_key,
        mark="low_quality" if "low_quality" in adata.obs else None,
        against=against,
        notes=f"{Path(_tissue(data)).name}. Image features: {encoder}. Networks: {SAID[networks]}. Seeds: {seeds}.",
    )
    click.echo((out / "summary.md").read_text(encoding="utf-8"))
    click.echo(f"Written to {out}: report.html, tables and figures")
    for name, error in compared[0].attrs["failed"].items():
        click.echo(f"Left out, since it failed: {name}. {error}", err=True)


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def _check_compared(compared: Iterable[str], asked: Mapping[str, list[str]]) -> None:
    for option, names in asked.items():
        if unknown := [name for name in names if name not in compared]:
            said = f"{', '.join(unknown)} is not compared (methods: {', '.join(compared)})."
            raise click.BadParameter(said, param_hint=option)


def _check_column(adata: AnnData, name: str, option: str) -> None:
    if name not in adata.obs:
        raise click.BadParameter(f"obs has no column {name!r} (it has: {', '.join(adata.obs)}).", param_hint=option)


def _markers(adata: AnnData, data: str) -> list[str]:
    """Return the markers of the paper where the tissue is liver."""
    is_liver = _tissue(data) in ("toy", "liver")
    return [gene for gene in MARKERS if gene in adata.var_names] if is_liver else []


def _tissue(data: str) -> str:
    """Return what ``--data`` names, without a folder."""
    return "liver" if data.startswith("liver=") else data


def _load(data: str) -> AnnData:
    """Load slides with raw counts, and cut their patches where there are none."""
    import scanpy as sc

    if data == "toy":
        adata = bs.datasets.toy()
    elif data == "her2st":
        adata = bs.datasets.her2st()
    elif data == "mob":
        adata = bs.datasets.mob()
    elif _tissue(data) == "liver":
        adata = bs.datasets.liver(data.partition("=")[2] or None)
    elif Path(data).suffix == ".h5ad" and Path(data).is_file():
        adata = sc.read_h5ad(data)
    else:
        raise click.BadParameter(f"{data!r} is no known tissue, and no h5ad file.", param_hint="--data")
    sc.pp.filter_cells(adata, min_counts=MIN_COUNTS)
    if "patches" not in adata.obsm:
        size, size_um = PATCH_SIZES.get(data, (224, None))
        bs.pp.extract_patches(adata, size=size, size_um=size_um)
    return adata
