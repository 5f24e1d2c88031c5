"""What numbers of expression mean, and predicted beside measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._adata import keys, logs
from bleep_sc._adata.checks import require_layer, require_unique_genes
from bleep_sc._arrays.blocks import dense, stored_values
from bleep_sc._output.damage import undamaged
from bleep_sc._output.messages import listed, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

UNEVEN = 3.0
"""Ratio of totals between slides that normalisation would not leave."""
FIRST_SPOTS = 256
"""Spots that are looked at to tell what values are."""
MEASURED = (
    "This compares with measured expression: pass truth=, the name of its layer. A slide that was predicted from its "
    "image alone has none; its prediction by itself is what bleep_sc.tl.to_anndata returns, for sc.pp.pca, "
    "sc.pp.neighbors, sc.tl.leiden and all of scanpy."
)


def record_of(adata: AnnData, layer: str | None) -> dict[str, Any] | None:
    """Return the record of expression that was predicted (empty where it was lost); None where it was measured."""
    if layer is not None:
        names = [keys.imputed(layer), keys.imputed(layer.removesuffix(keys.retrieved("")))]
        return next((adata.uns[name] for name in names if name in adata.uns), None)
    if keys.IMPUTED not in adata.var or not adata.var[keys.IMPUTED].all():
        return None
    return next((record for name, record in adata.uns.items() if str(name).endswith(keys.imputed(""))), {})


def units(
    ref: AnnData, layer: str | None, target_rep: str | None = None, *, presumed: str | None = None
) -> dict[str, Any]:
    """Say what the numbers of a reference mean: ``transform``, ``target_sum`` (0 where unknown) and ``corrected``.

    ``presumed`` is the transform of logarithms whose base neither a common total nor ``uns["log1p"]`` tells.
    """
    if target_rep is not None:
        # Only what Harmony corrected in gene space is still expression.
        corrected = "var_names" in ref.uns.get(target_rep, {})
        return {"transform": "log1p" if corrected else "unknown", "target_sum": 0.0, "corrected": True}
    matrix = require_layer(ref, layer, "Pass layer=, a layer of the reference.")
    if record := record_of(ref, layer):
        return {name: record[name] for name in ("transform", "target_sum", "corrected")}
    if holds_counts(matrix):
        return {"transform": "counts", "target_sum": 0.0, "corrected": False}
    values = stored_values(matrix)
    if not values.size:
        return {"transform": "unknown", "target_sum": 0.0, "corrected": False}
    if values.min() < 0 or (keys.LOG1P not in ref.uns and values.max() > LARGEST_LOG):
        return {"transform": "unknown", "target_sum": 0.0, "corrected": False}
    unless_noted = {"base": None if presumed is None else logs.base_of(presumed)}
    base, total = logs.base_and_total(matrix, ref.uns.get(keys.LOG1P, unless_noted))
    if layer is None and not total:
        total = _prepared_total(ref, base)
    return {"transform": logs.transform_of(base), "target_sum": total, "corrected": False}


def _prepared_total(adata: AnnData, base: float) -> float:
    """Return the total that spots were brought to before genes were left out, as noted by ``io.prepare``; else 0."""
    noted = adata.uns.get(keys.PREPARED, {})
    with undamaged(f"uns[{keys.PREPARED!r}]", "target_sum"):
        total = float(noted.get("target_sum", 0.0))
    some = adata.X[:FIRST_SPOTS]
    return total if logs.linear_totals(some, base).max() <= (1 + logs.SAME_TOTAL) * total else 0.0


def unit_label(adata: AnnData, layer: str | None) -> str:
    """Return what the axis of a figure says of the numbers of a layer, told by a few of its spots."""
    if record := record_of(adata, layer):
        return logs.label(record)
    matrix = require_layer(adata, layer, "Pass layer=, a layer of the AnnData.")
    some = np.unique(np.linspace(0, adata.n_obs - 1, min(adata.n_obs, FIRST_SPOTS)).astype(np.intp))
    known = (keys.LOG1P, keys.PREPARED) if layer is None else (keys.LOG1P,)
    noted = {name: adata.uns[name] for name in known if name in adata.uns}
    return logs.label(units(type(adata)(matrix[some], uns=noted), None))


def require_one_unit(adata: AnnData, layer: str | None, slides: NDArray[np.str_]) -> None:
    """Refuse slides whose expression means different things, by a few spots of each, and warn of uneven totals."""
    matrix = require_layer(adata, layer, "Pass layer=, the layer with logarithms.")
    noted = {name: adata.uns[name] for name in (keys.LOG1P,) if name in adata.uns}
    few = {str(name): np.flatnonzero(slides == name)[:FIRST_SPOTS] for name in np.unique(slides)}
    each = {name: units(type(adata)(matrix[rows], uns=noted), None) for name, rows in few.items()}
    by_meaning = {
        kind["transform"]: f"slide {name!r} holds {logs.named(kind)}" for name, kind in reversed(each.items())
    }
    if len(by_meaning) > 1:
        place = "adata.X" if layer is None else f"layers[{layer!r}]"
        raise ValueError(
            f"{place} means different things: {', '.join(sorted(by_meaning.values()))}. Take the counts of all "
            "slides, and call sc.pp.normalize_total(adata, target_sum=1e4) and sc.pp.log1p(adata) once."
        )
    each_total = [kind["target_sum"] for kind in each.values()]
    warn_of_uneven_slides(adata, layer, slides, 1 + logs.SAME_TOTAL if all(each_total) else UNEVEN)


def require_one_unit_of_rows(adata: AnnData, layer: str | None) -> None:
    """Refuse rows, each a sample of its own, whose logarithms mean different things, and warn of uneven totals."""
    matrix = require_layer(adata, layer, "Pass layer=, the layer with logarithms.")
    if logs.base_of(units(adata, layer)["transform"]) is None:
        return
    parts = logs.parts_of_one_total(matrix)
    if len(parts) > 1:
        place = "adata.X" if layer is None else f"layers[{layer!r}]"
        said = [
            f"{logs.transform_of(base)} of {total:,.0f} in {len(rows)} rows, such as {listed(adata.obs_names[rows], 2)}"
            for base, total, rows in parts
        ]
        raise ValueError(
            f"{place} means different things: {'; '.join(said)}. Bring all samples to one total and one logarithm: "
            "sc.pp.normalize_total(adata, target_sum=1e4) and sc.pp.log1p(adata) of their counts."
        )
    base = parts[0][0] if parts else logs.base_and_total(matrix, adata.uns.get(keys.LOG1P))[0]
    totals = logs.linear_totals(matrix, base)
    if len(totals) and totals.max() > UNEVEN * max(totals.min(), np.finfo(float).tiny):
        least, most = (adata.obs_names[i] for i in (totals.argmin(), totals.argmax()))
        warn(
            f"The samples are not normalised alike: the total before the logarithm is {totals.min():.4g} for {least!r} "
            f"and {totals.max():.4g} for {most!r}. Run sc.pp.normalize_total(adata, target_sum=1e4) on the counts of "
            "all of them, then sc.pp.log1p."
        )


def _are_whole(matrix: Any) -> bool:
    """Tell whether values are logarithms of whole counts, of the first spots and with more than one different count."""
    some = matrix[:FIRST_SPOTS]
    linear = np.expm1((some.data if sparse.issparse(some) else np.asarray(some)).astype(np.float64)).ravel()
    return bool(linear.size and linear.max() > 1.5 and np.allclose(linear, np.rint(linear), rtol=1e-4, atol=1e-3))


def warn_of_uneven_slides(adata: AnnData, layer: str | None, slides: NDArray[np.str_], ratio: float) -> None:
    """Warn where spots were not normalised, or slides to totals that differ by more than this ratio."""
    matrix = require_layer(adata, layer, "Pass layer=, the layer with logarithms.")
    totals = logs.linear_totals(matrix)
    if np.ptp(totals) > 0 and _are_whole(matrix):
        warn(
            "The expression is the logarithm of whole counts: spots were not brought to one total, so that deeply "
            "sequenced ones count more. Run sc.pp.normalize_total(adata, target_sum=1e4) on the counts before "
            "sc.pp.log1p, unless that is meant."
        )
    medians = {str(slide): float(np.median(totals[slides == slide])) for slide in np.unique(slides)}
    if max(medians.values()) > ratio * min(medians.values()):
        listed = ", ".join(f"{slide} {median:.4g}" for slide, median in medians.items())
        warn(
            f"The slides are not normalised alike (median total of a spot before the logarithm: {listed}). Run "
            "sc.pp.normalize_total(adata, target_sum=1e4) on the counts of all of them, then sc.pp.log1p."
        )


def predicted_genes(adata: AnnData, layer: str) -> NDArray[np.bool_]:
    """Return which genes a predicted layer holds, (n_vars,); NaN in one of them is refused."""
    predicted = require_layer(adata, layer, "Run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    finite = np.asarray(np.isfinite(dense(predicted)).all(axis=0))
    flag = keys.predicted(layer)
    if flag not in adata.var:
        return finite
    known = adata.var[flag].to_numpy(dtype=bool)
    if (known & ~finite).any():
        raise ValueError(
            f"layers[{layer!r}] holds NaN or infinite values in {int((known & ~finite).sum())} genes that "
            f"var[{flag!r}] calls predicted ({listed(adata.var_names[known & ~finite], 3)}). Predict them again."
        )
    return known


def both_sides(
    adata: AnnData, layer: str | Sequence[str], truth: str | None
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32], NDArray[np.bool_]]:
    """Return predicted and measured expression, (n_obs, n_genes) each, of the genes that all layers hold, and these.

    Raises an error when a layer is not in the units of the truth, or either is not finite.
    """
    layers = [layer] if isinstance(layer, str) else list(layer)
    measured = require_layer(adata, truth, MEASURED)
    known = np.ones(adata.n_vars, dtype=bool)
    for each in layers:
        known &= predicted_genes(adata, each)
        _check_units(adata, each, measured, truth)
    if not layers or not known.any():
        raise ValueError(f"There is no gene that was predicted in all of layer={listed(layers)}.")
    values = dense(measured[:, known])
    if not np.isfinite(values).all():
        raise ValueError("The measured expression holds NaN or infinite values. Drop those spots or genes first.")
    return {each: dense(adata.layers[each][:, known]) for each in layers}, values, known


def _check_units(adata: AnnData, layer: str, measured: object, truth: str | None) -> None:
    name = "X" if truth is None else f"layers[{truth!r}]"
    record = adata.uns.get(keys.imputed(layer), {})
    transform = str(record.get("transform", "unknown"))
    is_log = logs.base_of(transform) is not None
    if is_log and holds_counts(measured):
        raise ValueError(
            f"{name} holds counts, but layers[{layer!r}] holds logarithms. Log-normalise {name} as the reference was "
            "(sc.pp.normalize_total, sc.pp.log1p), or pass truth=, a layer with logarithms."
        )
    if is_log:
        own = units(adata, truth, presumed=transform)
        if logs.base_of(own["transform"]) is not None and own["transform"] != transform:
            raise ValueError(
                f"{name} holds {logs.named(own)}, but layers[{layer!r}] {logs.named(record)}. Take logarithms of the "
                "counts alike: sc.pp.log1p(adata)."
            )
        total, predicted = own["target_sum"], record.get("target_sum")
        if total and predicted and abs(total / predicted - 1) > logs.SAME_TOTAL:
            raise ValueError(
                f"{name} is normalised to {total:.4g} counts a spot, but layers[{layer!r}] to "
                f"{predicted:.4g}. Normalise both alike: sc.pp.normalize_total(adata, target_sum=...)."
            )
    if transform == "counts" and not holds_counts(measured):
        raise ValueError(
            f"{name} holds no counts, but layers[{layer!r}] was imputed in counts. Pass truth=, the layer with counts, "
            "or impute from a layer of the reference with logarithms (layer=)."
        )


LARGEST_LOG = 25.0
"""Logarithms of expression stay far below: log1p of a million is 14."""


def holds_counts(matrix: Any) -> bool:
    """Tell whether a matrix holds nothing but non-negative integers, and some above one."""
    values = stored_values(matrix)
    return bool(values.size and values.min() >= 0 and values.max() > 1 and np.all(values == np.floor(values)))


def log_expression(adata: AnnData, layer: str | None = None) -> Any:
    """Return a matrix of log-normalised expression, or raise an error that says why it is not one."""
    require_unique_genes(adata)
    matrix = require_layer(adata, layer, "Pass layer=, the name of the layer with log-normalised expression.")
    name = "adata.X" if layer is None else f"layers[{layer!r}]"
    values = stored_values(matrix)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values. Drop those spots or genes, or mend them, first.")
    if values.size and values.min() < 0:
        raise ValueError(
            f"{name} holds negative values (down to {values.min():.3g}), which log-normalised expression does not. "
            "Scaled or corrected values are no expression: keep them in obsm and pass target_rep=."
        )
    if holds_counts(matrix) or (values.size and values.max() > LARGEST_LOG):
        raise ValueError(
            f"{name} looks like counts, not logarithms (largest value {values.max():.4g}). Run "
            "sc.pp.normalize_total(adata, target_sum=1e4) and sc.pp.log1p(adata) first, or pass layer=."
        )
    empty = int((np.asarray(matrix.sum(axis=1)).ravel() == 0).sum())
    if empty:
        raise ValueError(
            f"{name} has {empty} empty spots, with no expression. Drop them: sc.pp.filter_cells(adata, min_counts=1)."
        )
    return matrix


def panel(adata: AnnData) -> NDArray[np.bool_]:
    """Return the genes to learn on, as ``sc.pp.pca`` does: ``var["highly_variable"]`` where present, else all."""
    if keys.HIGHLY_VARIABLE not in adata.var:
        return np.ones(adata.n_vars, dtype=bool)
    # An outer join leaves NaN, which is not chosen.
    chosen = np.asarray(adata.var[keys.HIGHLY_VARIABLE] == True, dtype=bool)  # noqa: E712
    if not chosen.any():
        raise ValueError(
            "var['highly_variable'] chooses no gene. Run bleep_sc.pp.select_genes(adata) again, or drop it."
        )
    return chosen
