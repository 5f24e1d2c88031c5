"""``bleep-sc fit``: train a reference, in one process or in those of torchrun."""

from __future__ import annotations

import ast
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import click

import bleep_sc as bs
from bleep_sc._adata import keys
from bleep_sc._adata.donors import USUAL
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.worth import in_short, known_scores
from bleep_sc._output.locks import held
from bleep_sc._output.messages import logger
from bleep_sc.cli._files import FILE, NUM_WORKERS, OUT_FILE, OUT_FOLDER, require_ending, require_free, write_h5ad
from bleep_sc.cli._processes import first_of_group
from bleep_sc.tl._models.in_uns import read_description

if TYPE_CHECKING:
    from anndata import AnnData

    from bleep_sc.training.config import FitConfig

CONSTANTS = {"true": True, "false": False, "none": None}


@click.command()
@click.argument("reference", type=FILE, metavar="REF.h5ad")
@click.option("--out", type=OUT_FILE, default=None, help="h5ad file to write. Default: REF.h5ad gets the model.")
@click.option("--paper", is_flag=True, help="The published method, instead of what predicted held-out tissue best.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of bleep_sc.tl.FitConfig, such as max_epochs=50 or views=raw,aligned; may be repeated.",
)
@click.option(
    "--use-rep",
    multiple=True,
    help="Image features in obsm to start from; may be repeated. Default: those of bleep-sc prepare, unless --encoder.",
)
@click.option("--encoder", default=None, help="Encoder of the patches, without --use-rep. Default: resnet50.")
@click.option("--patches-key", default="patches", show_default=True, help="Patches in obsm, or in their store.")
@click.option("--layer", default=None, help="Layer with log-normalised expression. Default: X.")
@click.option("--target-rep", default=None, help="Learn on this representation in obsm instead, such as X_harmony.")
@click.option(
    "--library-key",
    default=None,
    help="Column of obs that names the slide. Default: what patches were cut by, else library_id.",
)
@click.option(
    "--donor-key",
    default=None,
    help=f"Column of obs that names the donor of a spot. Default: the first there is of {', '.join(USUAL)}.",
)
@click.option("--key", default="bleep", show_default=True, help="Name of the model.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is random.")
@click.option(
    "--devices",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda:1, a number of GPUs, or a device for every process with commas. Under torchrun: auto or cpu.",
)
@NUM_WORKERS
@click.option(
    "--checkpoint-dir",
    type=OUT_FOLDER,
    default=None,
    help="Folder for the state of the training: called again after it was killed, it goes on there.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file, or the model, that is there.")
def fit(
    reference: Path,
    out: Path | None,
    paper: bool,
    settings: tuple[str, ...],
    use_rep: tuple[str, ...],
    key: str,
    seed: int,
    devices: str,
    overwrite: bool,
    **options: Any,
) -> None:
    """Train BLEEP on REF.h5ad, as bleep-sc prepare makes it: log-normalised expression with image features or patches.

    Under torchrun or srun all processes train one model, and the first of them writes it.

    \b
    bleep-sc fit reference.h5ad
    bleep-sc fit reference.h5ad --use-rep X_resnet50 --out model.h5ad
    torchrun --nproc-per-node=8 -m bleep_sc fit reference.h5ad --paper --checkpoint-dir state
    """  # noqa: D301 - click wants the character
    config = _config(paper, settings)
    writes = first_of_group()
    if out is not None:
        require_ending(out, ".h5ad")
        require_free(out, overwrite=overwrite)  # it has all that the reference has
    with held(out or reference) if writes else nullcontext():
        adata = read_h5ad(reference)
        if out is None and key in adata.uns and not overwrite:
            raise click.UsageError(
                f"{reference} holds uns[{key!r}] already. Pass --out, another --key, or --overwrite."
            )
        bs.tl.fit(
            adata,
            use_rep=list(use_rep) or _prepared(adata, options["encoder"]),
            config=config,
            key_added=key,
            random_state=seed,
            devices=_devices(devices),
            **options,
        )
        if writes:
            write_h5ad(adata, out or reference, replace=out is None or overwrite)
            genes = len(adata.uns[key]["genes"])
            click.echo(f"Fitted on {adata.n_obs:,} spots and {genes:,} genes. {_worth(adata, key)}")
            click.echo(f"Written: {out or reference}")
            named = "" if key == "bleep" else f" --key {key}"
            click.echo(f"Next: bleep-sc impute SLIDE --ref {out or reference}{named} --out slide.zarr")


def _worth(adata: AnnData, key: str) -> str:
    """Say how well what was held out was predicted, and what that was."""
    from bleep_sc.models.basis import BASES, basis

    scores = known_scores(adata, key)
    if scores is None:
        return "Nothing was held out: how well genes can be predicted is not known."
    params = read_description(adata.uns[key], key).params
    slides = sorted(set(libraries(adata, None, params["library_key"]).tolist()))
    on = BASES[basis(params, slides, held_out=True)]
    return f"Predicted of {on}: {in_short(scores)}."


def _prepared(adata: AnnData, encoder: str | None) -> str | None:
    """Return the features that ``bleep-sc prepare`` computed, unless an encoder is to be trained."""
    use_rep = str(adata.uns.get(keys.PREPARED, {}).get("use_rep", ""))
    if encoder is not None or use_rep not in adata.obsm:
        return None
    logger.info("Image features are those of obsm[%r], as prepared.", use_rep)
    return use_rep


def _config(paper: bool, settings: tuple[str, ...]) -> FitConfig:
    """Return the hyper-parameters, with those set that were named."""
    config = bs.tl.FitConfig.paper() if paper else bs.tl.FitConfig()
    hints = get_type_hints(bs.tl.FitConfig)
    changes: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in hints:
            raise click.BadParameter(f"{name!r} is no field; there are {', '.join(hints)}.", param_hint="--set")
        if get_origin(hints[name]) is tuple:
            changes[name] = tuple(part.strip() for part in text.split(","))
        else:
            changes[name] = _value(name, text, get_args(hints[name]) or (hints[name],))
    return replace(config, **changes)


def _value(name: str, text: str, allowed: tuple[Any, ...]) -> Any:
    """Read a value as one of the types of a field; a field of given words has these instead of types."""
    kinds = {each if isinstance(each, type) else type(each) for each in allowed}
    try:
        value = CONSTANTS[text.lower()] if text.lower() in CONSTANTS else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if type(value) is int and float in kinds:
        value = float(value)
    if type(value) not in kinds:
        expected = " or ".join("none" if kind is NoneType else kind.__name__ for kind in sorted(kinds, key=str))
        raise click.BadParameter(f"{name}={text} is no {expected}.", param_hint="--set")
    return value


def _devices(devices: str) -> str | int | list[str]:
    if devices.isdigit():
        return int(devices)
    return devices.split(",") if "," in devices else devices
