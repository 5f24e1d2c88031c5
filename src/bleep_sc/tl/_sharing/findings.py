"""What a receiver wants to know of a shared reference before trusting it, a question each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from bleep_sc._adata import keys, logs
from bleep_sc._adata.expression import units
from bleep_sc._adata.spots import Spots
from bleep_sc._output.messages import listed
from bleep_sc.tl._models.inputs import panel_expression
from bleep_sc.tl._references.checksums import measured_by, spot_checksums
from bleep_sc.tl._references.parts import check_parts
from bleep_sc.tl._sharing.identifiers import kept_names, more_than_needed, telling_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.models.fitted import FittedModel

SAME = 0.01
"""Difference of a correlation that rounding may make."""


class Finding(NamedTuple):
    """The answer to a question."""

    check: str
    """What was asked."""
    verdict: Literal["ok", "look", "bad"]
    """``"look"``: nothing is wrong, and something is to be known; ``"bad"``: do not use it."""
    found: str
    """What was found."""


def files(folder: Path, expected: Sequence[str]) -> list[Finding]:
    """Say what the files hold, for comparison with what the sender has, and whether there are others."""
    from hashlib import sha256

    hashes = [Finding(f"sha256 of {name}", "ok", sha256((folder / name).read_bytes()).hexdigest()) for name in expected]
    others = sorted(each.name for each in folder.iterdir() if each.name not in expected)
    more = Finding("other files", "bad", f"{listed(others)}: no part of a reference, and not looked at")
    return [*hashes, more if others else Finding("other files", "ok", "none")]


def model(fitted: FittedModel, *, has_checksum: bool) -> Finding:
    """Say which version wrote the model, and whether it is what was written."""
    by = f"of bleep_sc {fitted.description.version or 'of an unknown version'}"
    if has_checksum:
        return Finding("model", "ok", f"what was written, by its checksum; {by}")
    return Finding("model", "look", f"{by}, which kept no checksum of it: it loads, and no more is known")


def spots(adata: AnnData, key: str, fitted: FittedModel) -> list[Finding]:
    """Say whether expression and embeddings are what was written, and belong to the model."""
    params = fitted.description.params
    layer = params.get("reference_layer", params["layer"])
    stored, embedding = adata.obs.get(keys.checksum(key)), adata.obsm[keys.expression_embedding(key)]
    if stored is None or params.get("measured") != measured_by(adata)["measured"]:
        written = Finding("spots", "look", "there are no checksums of them, or of other genes")
    else:
        n = int((spot_checksums(adata, layer, embedding) != stored.to_numpy()).sum())
        all_are = f"all {adata.n_obs:,} are what was written, by their checksums"
        written = Finding("spots", "bad" if n else "ok", f"{n:,} of {adata.n_obs:,} changed" if n else all_are)
    where = Spots.of(adata, params)
    try:
        check_parts(where, key, fitted.description, fitted.module, "the reference", is_averaged=True)
    except (ValueError, KeyError) as error:
        return [written, Finding("parts", "bad", str(error))]
    return [written, Finding("parts", "ok", "the model makes the stored embeddings of the expression")]


def expression(adata: AnnData, fitted: FittedModel) -> Finding:
    """Say what the numbers of the expression mean, and whether the model was told the same."""
    params = fitted.description.params
    layer, said = params.get("reference_layer", params["layer"]), params["units"]
    own = units(adata, layer, params["target_rep"], presumed=said["transform"])
    if not logs.are_alike(own, said):
        return Finding("units", "bad", f"the files hold {logs.named(own)}, and the model says {logs.named(said)}")
    return Finding("units", "ok", logs.named(said if said["target_sum"] else own))


def donors(fitted: FittedModel, slides: NDArray[np.str_]) -> Finding:
    """Say of how many donors the slides are, on which all that is promised rests."""
    named = fitted.description.params.get("donors")
    n_slides = len(np.unique(slides))
    if not named:
        return Finding("donors", "look", f"not told, of {n_slides} slides: what is promised may hold for theirs alone")
    n = len(set(named.values()))
    said = f"{n}, with {n_slides} slides and {len(slides):,} spots"
    return Finding("donors", "ok", said) if n > 1 else Finding("donors", "look", f"{said}: nothing tells of another")


def identifiers(adata: AnnData, key: str, fitted: FittedModel) -> list[Finding]:
    """Say whether names of slides, spots and donors were kept, and what is there that nobody needs."""
    kept = kept_names(adata, fitted.description)
    names = "; ".join(f"{kind} keep {listed(found, 3)}" for kind, found in kept.items())
    more = more_than_needed(adata, key, fitted.description)
    return [
        Finding("names", "bad" if kept else "ok", names or "of slides, spots and donors are numbers"),
        Finding("other data", "bad" if more else "ok", listed(more) if more else "none but what imputation needs"),
    ]


def text(folder: Path, texts: Sequence[str], h5ad: str) -> Finding:
    """Say whether some text looks like a path, an address, a number of a case or a date."""
    found = telling_text(folder, texts, h5ad)
    said = "; ".join(f"{what}: {example!r}" for what, example in found.items())
    return Finding("text", "look" if found else "ok", said or "no paths, e-mail addresses, barcodes, UUIDs or dates")


def encoders(fitted: FittedModel) -> Finding:
    """Say which encoders the images need, under which licences, and whether weights of one are inside."""
    from bleep_sc.models.encoder_licenses import license_of

    inside = fitted.description.architecture.get("encoder")
    made = [str(each.get("encoder", "")) for each in fitted.description.recipe.get("features", [])]
    nameless = "other software" if inside is None else "a module"
    known = {name or nameless: license_of(name) for name in dict.fromkeys(made if inside is None else [inside])}
    said = "; ".join(f"{name}: {each.license}. {each.terms}".strip() for name, each in known.items())
    if inside is not None and any(each.may_be_shared is False for each in known.values()):
        return Finding("encoder", "bad", f"its trained weights are inside, which its licence forbids. {said}")
    return Finding("encoder", "ok" if all(each.may_be_shared for each in known.values()) else "look", said)


def scores(adata: AnnData, key: str, fitted: FittedModel, slides: NDArray[np.str_]) -> Finding:
    """Score the held-out spots that come with it once more, and compare with what it promises."""
    from bleep_sc.metrics.correlation import pearson
    from bleep_sc.training.calibration import predictability
    from bleep_sc.training.validation import monitored_genes, units_to_hold_out

    predicted, params = adata.obsm.get(keys.held_out(key)), fitted.description.params
    if predicted is None or fitted.calibration is None:
        return Finding("scores", "look", "no spots were held out: how well it predicts is not known")
    rows = np.isfinite(np.asarray(predicted)).all(axis=1)
    if not rows.any():
        return Finding("scores", "bad", f"obsm[{keys.held_out(key)!r}] holds no spot that was held out")
    layer = params.get("reference_layer", params["layer"])
    try:
        truth = panel_expression(adata, fitted.description.genes, layer, params["target_rep"])[rows]
    except (ValueError, KeyError) as error:
        return Finding("scores", "bad", f"they cannot be computed: {error}")
    predicted, slides = np.asarray(predicted)[rows], slides[rows]
    again = predictability(predicted, truth, slides, units_to_hold_out(slides, params.get("donors")))
    said = fitted.calibration.predictability
    off = np.abs(again - said)[np.isfinite(again) & np.isfinite(said)]
    variable = monitored_genes(truth, slides)
    each = [pearson(predicted[slides == name][:, variable], truth[slides == name][:, variable]) for name in set(slides)]
    r = float(np.nan_to_num(np.array(each)).mean())
    scored = (
        f"{rows.sum():,} spots that were held out ({fitted.basis}): mean Pearson r {r:.2f} over the {len(variable)} "
        f"most variable genes, median predictability {np.nanmedian(again):.2f} over {np.isfinite(again).sum():,}"
    )
    if len(off) and off.max() > SAME:
        return Finding("scores", "bad", f"{scored}; the model promises others, by up to {off.max():.2f}")
    return Finding("scores", "ok", f"{scored}, which is what the model promises")
