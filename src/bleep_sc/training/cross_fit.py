"""What a reference is worth: donors predicted from each other; slides, where there is one; parts, where it has one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bleep_sc._arrays.blocks import columns_of
from bleep_sc._output.messages import listed, logger
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.fold import Fold, placed
from bleep_sc.training.processes.group import is_first, joined
from bleep_sc.training.shrinkage import shrinkage_of
from bleep_sc.training.validation import MAX_FOLDS, folds, monitored_genes, validation_score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc._arrays.sparse_rows import SparseRows
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.processes.group import Processes

MAX_SPOTS = 4000
"""That each model predicts, of those that it has not seen, at most."""


@dataclass(frozen=True)
class HeldOut:
    """Spots as models predicted them that had not seen their donor, their slide, or their part of the only one."""

    slides: NDArray[np.str_]
    """(n,)."""
    units: NDArray[np.str_]
    """What each was held out with as a whole: its donor, its slide, or its part of it, (n,)."""
    truth: NDArray[np.float32]
    """(n, n_genes)."""
    retrieved: NDArray[np.float32]
    """Mean of the neighbours, (n, n_genes)."""
    variance: NDArray[np.float32]
    """Variance among the neighbours, (n, n_genes)."""
    regressed: NDArray[np.float32]
    """By the regression on the embedding, (n, n_genes); what was retrieved, where there is none."""
    similarity: NDArray[np.float32]
    """Mean similarity of the neighbours, (n,)."""
    rows: NDArray[np.intp]
    """Which spots of the reference they are, (n,)."""
    smoothing_um: float = 0.0
    """Over how much tissue embeddings were averaged before they were looked for, µm."""

    @cached_property
    def shrinkage(self) -> tuple[float, NDArray[np.float32], NDArray[np.float32]]:
        """How far to move towards the regression: over all genes, gene by gene, (n_genes,), spot by spot."""
        return shrinkage_of(self.truth, self.retrieved, self.regressed, self.slides, self.units)


SMOOTHINGS_UM = (0.0, 50.0, 75.0, 100.0, 150.0, 200.0)
"""Between which held-out slides choose."""


def cross_fit(
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    units: NDArray[np.str_],
    config: FitConfig,
    centers_um: NDArray[np.float64] | None = None,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    checkpoint_dir: str | Path | None = None,
    **how: Any,
) -> HeldOut:
    """Predict the spots of every unit from the other units; the arguments are those of :func:`fit_bleep`.

    At most five models are trained, each without a share of the units and with one pair of heads a view, which errs on
    the safe side, and each predicts at most 4,000 spots. Each has a folder of its own in ``checkpoint_dir``. Where
    spots are (``centers_um``, (n, 2); None: not known) and the configuration leaves it open, they choose over how
    much tissue embeddings are averaged. Of several processes each predicts the spots of some models, and all get the
    result.
    """
    device = torch.device(device)
    rng = np.random.default_rng(random_state)
    parts: dict[int, Fold] = {}
    rows_of = []
    all_folds = list(folds(units, MAX_FOLDS, random_state))
    smoothings_um = _smoothings(groups, config, is_placed=centers_um is not None)
    with joined(device) as processes:
        for number, is_held_out in enumerate(all_folds):
            counted, start = f"{number + 1} of {len(all_folds)}", time.perf_counter()
            if is_first():
                logger.info("Predicting %s from the others (%s).", listed(np.unique(units[is_held_out])), counted)
            model, _ = fit_bleep(
                pairs[~is_held_out],
                groups[~is_held_out],
                units=units[~is_held_out],
                config=replace(config, views=tuple(dict.fromkeys(config.views)), n_models=1),
                random_state=random_state,
                device=device,
                checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir) / f"fold{number + 1}",
                **how,
            )
            spots = np.flatnonzero(is_held_out)
            kept = np.sort(rng.permutation(len(spots))[:MAX_SPOTS])
            rows_of.append(spots[kept])
            if number % processes.n == processes.rank:
                parts[number] = placed(
                    model, pairs, groups, is_held_out, kept, centers_um, smoothings_um, config, device
                )
            del model
            if is_first():
                logger.info("That took %.0f s (%s).", time.perf_counter() - start, counted)
        smoothing_um = _smoothing(parts, rows_of, pairs.expression, groups, smoothings_um, processes)
        predicted = [
            _of_all(parts.get(number), number, len(rows), pairs.expression, smoothing_um, processes)
            for number, rows in enumerate(rows_of)
        ]
    rows = np.concatenate(rows_of)
    return HeldOut(
        slides=groups[rows],
        units=units[rows],
        truth=pairs.expression[rows],
        rows=rows,
        smoothing_um=smoothing_um,
        **{name: np.concatenate([part[name] for part in predicted]) for name in predicted[0]},
    )


def _of_all(
    fold: Fold | None,
    number: int,
    n: int,
    expression: NDArray[np.float32] | SparseRows,
    smoothing_um: float,
    processes: Processes,
) -> dict[str, NDArray[np.float32]]:
    """Return what is predicted of the spots of a fold, (n, n_genes), by the process that has it."""
    shape = (n, expression.shape[1])
    shapes = {"retrieved": shape, "variance": shape, "regressed": shape, "similarity": (n,)}
    found = {name: np.empty(size, dtype=np.float32) for name, size in shapes.items()}
    if fold is not None:
        found = fold.predict(smoothing_um, expression)
    processes.broadcast((torch.from_numpy(found[name]) for name in shapes), number % processes.n)
    return found


def _smoothings(groups: NDArray[np.str_], config: FitConfig, *, is_placed: bool) -> tuple[float, ...]:
    """Return over how much tissue embeddings may be averaged, µm: as told, or one of several, if slides are asked."""
    if config.smoothing_um is not None:
        return (config.smoothing_um,)
    if not is_placed or config.metric != "cosine" or len(np.unique(groups)) == 1:
        return (0.0,)
    return SMOOTHINGS_UM


def _smoothing(
    parts: dict[int, Fold],
    rows_of: list[NDArray[np.intp]],
    expression: NDArray[np.float32] | SparseRows,
    groups: NDArray[np.str_],
    smoothings_um: tuple[float, ...],
    processes: Processes,
) -> float:
    """Return over which of some distances embeddings are averaged, µm: what held-out slides say, if there are several.

    ``parts`` are the folds of this process, and ``rows_of`` the spots that are predicted in each of all.
    """
    if len(smoothings_um) == 1:
        return smoothings_um[0]
    genes = monitored_genes(expression, groups)
    monitored = columns_of(expression, genes)
    scores = np.zeros((len(smoothings_um), sum(len(np.unique(groups[rows])) for rows in rows_of)))
    first = 0
    for number, rows in enumerate(rows_of):
        truth, slides = monitored[rows], groups[rows]
        names = np.unique(slides)
        for score, smoothing_um in zip(scores, smoothings_um if number in parts else (), strict=False):
            retrieved, regressed = parts[number].means(smoothing_um, monitored, genes)
            predicted = (retrieved + regressed) / 2
            for place, name in enumerate(names, start=first):
                here = slides == name
                score[place] = here.sum() * validation_score(predicted[here], truth[here])
        first += len(names)
    of_all = processes.collect(torch.from_numpy(scores)).sum(dim=0).numpy()  # each slide is in one fold
    return smoothings_um[int(np.cumsum(of_all, axis=1)[:, -1].argmax())]
