from __future__ import annotations

import inspect
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc import metrics
from bleep_sc._adata import keys
from bleep_sc._adata.donors import donor_column, donors_of_slides
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import a, listed, logger
from bleep_sc.bm._compared import named_methods
from bleep_sc.bm._donors import tell_of_shared_donors, with_donors
from bleep_sc.bm._external import UNSEEN, External
from bleep_sc.bm._folds import Fold, Split, folds, split
from bleep_sc.bm._guards import check_features_are_of_images, check_groups_are_apart
from bleep_sc.bm._ingredients import made_with, of_both
from bleep_sc.bm._runs import Run, open_runs, read_run, run_file, settings_of, write_run
from bleep_sc.bm._scores import score_runs
from bleep_sc.bm._shown import by_place
from bleep_sc.tl._models.inputs import as_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from bleep_sc.bm._methods import Compared

    Predictions = dict[str, dict[str, pd.DataFrame]]

LOCATION, PERMUTED, FAILED = "location", "permuted", "failed"
UNEVEN = 1e-3
"""How far weights of a spot may be from summing to one."""


def cross_validate(
    adata: AnnData,
    methods: str | Compared | Sequence[str | Compared] | Mapping[str, Compared],
    *,
    group_key: str,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    layer: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    n_top_genes: int | None = 1000,
    markers: Sequence[str] = (),
    n_seeds: int = 1,
    random_state: int = 0,
    path: str | Path | None = None,
    keep_going: bool = False,
    return_predictions: bool = False,
) -> pd.DataFrame | tuple[pd.DataFrame, Predictions]:
    """Compare methods by leaving out one group after another: donors, slides or sections.

    Nothing of the held-out group reaches a method but its images, positions and image features. Normalisation (log1p
    of counts per 10⁴ of each spot) is done anew in every fold, genes are chosen on the training slides alone
    (:func:`bleep_sc.pp.select_genes`), and what a method gets as ``query`` has no expression. Groups that share an
    image file, a near-identical image, or spots with the same counts, patches or features are refused.

    Parameters
    ----------
    adata
        Raw counts of all groups; in ``obsm`` what the methods need: coordinates, patches, features.
    methods
        Names of the package's methods (``["mean", "ridge", "bleep"]``: as :func:`bleep_sc.bm.methods` returns them for
        these features), functions of your own, by whose names the table then calls them, or a dict of functions by
        name. A method is called as ``method(train, query)``, or ``method(train, query, random_state=seed)`` where it
        takes a seed; without one it runs once. ``train.var["highly_variable"]`` are the genes to predict. It returns an
        array (n_query, n_genes) of log-normalised expression, NaN in the columns of genes that it does not predict; or,
        if it averages training spots, their weights as a sparse matrix (n_query, n_train) whose rows sum to one.
    group_key
        Column of ``obs`` that names what is held out. Groups must hold whole slides. Where donors have several slides,
        hold out donors: the log says where slides of a held-out donor are trained on.
    use_rep
        Keys of image features in ``obsm``, made of each image alone. What is known to come from expression is refused,
        and so is what tells more of the expression of its own spots than images do, measured within patches of
        neighbouring spots. Averages over wide surroundings hide from that.
    patches_key
        Key of the patches in ``obsm``; passed on where it is there.
    layer
        Where the counts are; None is ``X``.
    library_key
        Column of ``obs`` that names the slide; None is the one that patches were cut by, else ``library_id``.
    donor_key
        Column of ``obs`` that names whose tissue a spot is; None is the first that is there of ``patient``, ``donor``,
        ``animal`` and their like. Methods see it as ``obs["donor"]``.
    n_top_genes
        How many genes each training slide contributes; None predicts every gene that the training groups have.
    markers
        Marker genes (MG), which are predicted too, whether they vary or not; those that no training spot has are
        logged.
    n_seeds, random_state
        Methods with a seed run with ``random_state``, ``random_state + 1`` and so on.
    path
        A folder for the predictions. Runs that are in it already are not run again, so an interrupted call goes on
        where it was. Runs of other data are refused, and those of a method of another code, or that was made with other
        things: arguments of a :func:`functools.partial`, fields of an object, what a function closes over or reads of
        its module, versions of packages. What cannot be compared, such as an open file, is said in the log, and run
        again; what a method itself changes as it runs is not compared.
    keep_going
        Go on without a method that raises an error, and leave it out of the table; the error is logged. Its runs before
        are kept in ``path``.
    return_predictions
        Also return the predictions of the first seed.

    Returns
    -------
    A row for every method, seed, slide and gene: ``method`` (``"permuted"`` is BLEEP, or else the last one whose
    prediction varies, with the spots of every slide shuffled), ``seed``, ``group``, ``library``, the ``donor`` of
    the slide, ``same_donor`` (whether other slides of that donor were trained on; both NA where donors are not
    known) and ``gene``; ``pearson``, ``spearman``, ``ccc``, ``rmse``, ``mae``, ``crps`` (the MAE for a method
    without weights) and ``crps_reference``, that of all training spots alike, which look at no image; ``partial``,
    the correlation given location copy, where that was run; ``ceiling``, the highest correlation that counting
    noise leaves; ``measured_mean``, ``measured_variance``, ``predicted_mean``, ``predicted_variance``; whether the
    gene is among the 50 most expressed or most variable ones of the training slides, slide by slide
    (``HEG_reference``, ``HVG_reference``), or of the held-out slide (``HEG_truth``, ``HVG_truth``), or a marker
    (``MG``); ``seconds``, how long the run took; and ``trained_elsewhere``, which no cross-validation can vouch for
    (:func:`bleep_sc.bm.external`). Correlations are NaN for a gene that does not vary or was not
    predicted.

    ``table.attrs["failed"]`` has the error of every method that was gone on without, by its name.

    With ``return_predictions=True`` also, for every method and group, a DataFrame (spots × genes).

    Raises
    ------
    ValueError
        When a slide is too small, groups share tissue, features hold expression, or a method returns something else
        than what is described.

    Warns
    -----
    UserWarning
        Where features may have been computed from expression.

    Examples
    --------
    After the example of :func:`bleep_sc.pp.image_features`:

    >>> table = bs.bm.cross_validate(
    ...     adata, ["mean", "ridge"], group_key="library_id", use_rep="X_stain_stats", n_top_genes=40
    ... )
    >>> table.groupby("method")["pearson"].mean().idxmax()
    'ridge'
    """
    methods = named_methods(methods, use_rep=as_keys(use_rep), patches_key=patches_key)
    if n_seeds < 1:
        raise ValueError(f"n_seeds={n_seeds} must be at least 1.")
    data = split(
        adata,
        group_key,
        use_rep=as_keys(use_rep),
        patches_key=patches_key,
        layer=layer,
        library_key=library_key,
        n_top_genes=n_top_genes,
        markers=markers,
    )
    data = replace(data, donors=donors_of_slides(adata, data.slides, donor_column(adata, donor_key)))
    tell_of_shared_donors(data)
    elsewhere = [name for name, method in methods.items() if isinstance(method, External)]
    if elsewhere:
        logger.warning("%s: %s.", listed(elsewhere), UNSEEN)
    check_groups_are_apart(data)
    check_features_are_of_images(data, as_keys(use_rep))
    kept = None if path is None else open_runs(path, settings_of(data))
    tables: list[pd.DataFrame] = []
    predictions: Predictions = {name: {} for name in methods}
    failed: dict[str, Exception] | None = {} if keep_going else None
    for fold in folds(data):
        unseen = [gene for gene in markers if gene not in fold.panel]
        if unseen:
            logger.info("No training spot without %s has the markers %s.", fold.group, listed(unseen))
        runs = list(_run_fold(fold, methods, range(random_state, random_state + n_seeds), kept, failed))
        tables += _score_fold(data, fold, runs)
        for run in runs:
            if run.seed == random_state:
                names = pd.Index(run.genes)
                predictions[run.method][fold.group] = pd.DataFrame(run.values, fold.query.obs_names, names)
    table = pd.concat(tables, ignore_index=True)
    table = with_donors(table[~table["method"].isin(failed or ())].reset_index(drop=True), data)
    table["trained_elsewhere"] = table["method"].isin(elsewhere)
    if failed is not None:
        table.attrs[FAILED] = {name: f"{type(error).__name__}: {error}" for name, error in failed.items()}
        predictions = {name: groups for name, groups in predictions.items() if name not in failed}
    return (table, predictions) if return_predictions else table


def _run_fold(
    fold: Fold,
    methods: Mapping[str, Compared],
    seeds: range,
    kept: Path | None,
    failed: dict[str, Exception] | None,
) -> Iterator[Run]:
    """Run all methods but those that have failed; these are gone on without where there is a dict for their errors."""
    for name, method in methods.items():
        for seed in seeds if _takes_seed(method) else seeds[:1]:
            if failed is not None and name in failed:
                break
            file = None if kept is None else run_file(kept, name, fold.group, seed)
            parts = {} if file is None else made_with(method)
            run = read_run(file, name, fold.group, seed, parts) if file is not None and file.exists() else None
            if run is None:
                with _going_on_without(name, failed, len(methods)):
                    run = _run(fold, name, method, seed)
                    if file is not None:
                        run = replace(run, made_with=of_both(parts, made_with(method)))
                if run is not None and file is not None:
                    write_run(file, run)
            if run is not None:
                yield run


@contextmanager
def _going_on_without(name: str, failed: dict[str, Exception] | None, n_methods: int) -> Iterator[None]:
    """Note the error of a method, and go on, unless none would be left or that is not wanted."""
    try:
        yield
    except Exception as error:
        if failed is None or len(failed) + 1 == n_methods:
            raise
        logger.exception("Going on without methods[%r], which failed.", name)
        failed[name] = error


def _takes_seed(method: Compared) -> bool:
    """Tell whether a seed makes a difference; a partial whose seed is set takes none."""
    if "random_state" in getattr(method, "keywords", {}):  # functools.partial
        return False
    parameters = inspect.signature(method).parameters
    return "random_state" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _run(fold: Fold, name: str, method: Compared, seed: int) -> Run:
    """Run a method on copies, so that none can disturb the next."""
    seeded: dict[str, Any] = {"random_state": seed} if _takes_seed(method) else {}
    order = by_place(fold.query)  # that of the input may be sorted by what is to be predicted
    train, query = fold.train.copy(), fold.query[order].copy()
    start = time.perf_counter()
    with _said_of(f"This was in methods[{name!r}], with {fold.group!r} held out, seed {seed}."):
        result = method(train, query, **seeded)
    seconds = time.perf_counter() - start
    logger.info("%s without %s, seed %d: %.0f s", name, fold.group, seed, seconds)
    if result is None:
        raise ValueError(f"methods[{name!r}] returned nothing; it must return an array (n_query, n_genes).")
    expression = fold.train[:, fold.panel].X
    weights = None
    if sparse.issparse(result):
        if result.shape != (fold.query.n_obs, fold.train.n_obs):
            raise ValueError(
                f"methods[{name!r}] returned weights of shape {result.shape}; expected are {fold.query.n_obs} held-out "
                f"and {fold.train.n_obs} training spots."
            )
        weights = sparse.csr_matrix(result)
        _check_weights(weights, name)
        weights = weights[np.argsort(order)]
        values = np.asarray(dense(weights @ expression), dtype=np.float32)
    else:
        values = _as_array(result, name)
        _check_values(values, (fold.query.n_obs, len(fold.panel)), name)
        values = values[np.argsort(order)]
    return Run(name, fold.group, seed, fold.panel, values, weights, seconds)


@contextmanager
def _said_of(note: str) -> Iterator[None]:
    """Say with an error of a method where it was."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def _as_array(result: Any, name: str) -> np.ndarray[Any, Any]:
    try:
        if not isinstance(result, list | tuple) and not hasattr(result, "__array__"):
            raise TypeError("numpy would take it apart")
        return np.asarray(result, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"methods[{name!r}] returned {a(type(result).__name__)}, which is no array of numbers. It must return an "
            "array (n_query, n_genes) of log-normalised expression, the genes being those of "
            "train.var['highly_variable'], in this order; or weights of the training spots, a sparse matrix (n_query, "
            "n_train)."
        ) from error


def _check_weights(weights: sparse.csr_matrix, name: str) -> None:
    totals = np.asarray(weights.sum(axis=1)).ravel()
    if not np.isfinite(weights.data).all() or (weights.data < 0).any() or (abs(totals - 1) > UNEVEN).any():
        off = int(np.argmax(np.where(np.isfinite(totals), abs(totals - 1), np.inf)))
        raise ValueError(
            f"methods[{name!r}] returned weights that are no means: they must not be negative, and sum to one for "
            f"every held-out spot (those of spot {off} sum to {totals[off]:.3g})."
        )


def _check_values(values: np.ndarray[Any, Any], shape: tuple[int, int], name: str) -> None:
    if values.shape != shape:
        raise ValueError(
            f"methods[{name!r}] returned an array of shape {values.shape}; {shape} is expected: the held-out spots, "
            "and the genes of train.var['highly_variable'], in this order."
        )
    finite = np.isfinite(values)
    torn = np.flatnonzero(finite.any(axis=0) & ~finite.all(axis=0))
    if len(torn) or np.isinf(values).any():
        raise ValueError(
            f"methods[{name!r}] returned NaN or infinite values for some spots of {len(torn)} genes. A gene that is "
            "not predicted is NaN for all spots."
        )
    if not finite.any():
        raise ValueError(f"methods[{name!r}] returned nothing but NaN.")


def _score_fold(data: Split, fold: Fold, runs: list[Run]) -> Iterator[pd.DataFrame]:
    """Score the runs of a fold, and a permuted one, slide by slide; location copy also serves as what is given."""
    location = next((run for run in runs if run.method == LOCATION), None)
    varying = [run for run in runs if np.nanmax(np.ptp(run.values, axis=0)) > 0] or runs
    shuffled = next((run for run in varying if run.method == "bleep"), varying[-1])
    values = shuffled.values.copy()
    for slide in fold.query.obs[keys.LIBRARY].unique():
        rows = (fold.query.obs[keys.LIBRARY] == slide).to_numpy()
        values[rows] = metrics.permuted(values[rows], random_state=shuffled.seed)
    null = replace(shuffled, method=PERMUTED, values=values, weights=None, seconds=float("nan"))
    return score_runs([*runs, null], data, fold, location)
