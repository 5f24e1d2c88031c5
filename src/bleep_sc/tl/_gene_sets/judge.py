"""What a reference knows of sets of genes: its spots as they were measured, and predicted without being seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model, require_obsm
from bleep_sc._adata.spots import Spots
from bleep_sc._arrays.blocks import some_rows
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._models.in_uns import model_hash, read_description
from bleep_sc.tl._predictions.record import params_of, require_as_predicted
from bleep_sc.tl._references.checksums import warn_of_changed_spots
from bleep_sc.tl._references.genes import gene_names
from bleep_sc.tl._references.on_disk import opened, read_rows, stacked
from bleep_sc.tl._references.read import panel_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc.models.fitted import Description
    from bleep_sc.tl._gene_sets.scoring import Scoring

FIT_AGAIN = (
    "bleep_sc.tl.fit writes it where the reference has several slides, with FitConfig(cross_fit=True): fit again, or "
    "leave out ref= for scores without predictability."
)


@dataclass(frozen=True)
class Judge:
    """Held-out spots of a reference, and where its genes are in a query."""

    measured: Any
    """(n, n_genes), in memory or not."""
    predicted: NDArray[np.float32]
    """The same spots and genes, (n, n_genes)."""
    slides: NDArray[np.str_]
    """(n,)."""
    units: NDArray[np.str_]
    """What was held out as a whole, (n,): the donor, where there are several, or the slide."""
    centers: NDArray[np.float64] | None
    """Where the spots are on their slides, px, (n, 2); None where there are no coordinates."""
    basis: str
    """What was held out, one of :data:`bleep_sc.models.basis.BASES`."""
    columns: NDArray[np.intp]
    """Column of every gene in the query, (n_genes,)."""

    @classmethod
    def of(cls, ref: AnnData, key: str, query: AnnData, gene_key: str | None, known: NDArray[np.bool_]) -> Judge:
        """Read what a reference held out, of those genes of a query that are ``known``, (n_vars,)."""
        from bleep_sc.models.basis import basis
        from bleep_sc.training.validation import units_to_hold_out

        ref = opened(ref, key)
        description = read_description(require_model(ref, key), key)
        params, name = description.params, keys.held_out(key)
        if description.method != "bleep":
            raise ValueError(
                f"uns[{key!r}] of ref= is a {description.method} model, which holds nothing out. Leave out ref=."
            )
        held_out = require_obsm(ref, name, FIT_AGAIN)
        if held_out.shape[1:] != (len(description.genes),):
            raise ValueError(
                f"obsm[{name!r}] of ref= has shape {held_out.shape}, but uns[{key!r}] has {len(description.genes)} "
                f"genes: they do not belong together. {FIT_AGAIN}"
            )
        panel = pd.Index(description.genes)
        columns = gene_names(query, gene_key).get_indexer(_called(ref, panel, gene_key))
        there = (panel.isin(ref.var_names) | (params["target_rep"] is not None)) & (columns >= 0)
        chosen = np.flatnonzero(there & known[columns])
        if not len(chosen):
            raise ValueError(
                f"None of the {len(panel)} genes that ref= was fitted on is at hand in adata. Pass the reference that "
                "it was imputed from."
            )
        predicted = read_rows(held_out, slice(0, ref.n_obs), chosen)
        rows = np.flatnonzero(np.isfinite(predicted).all(axis=1))
        if not len(rows):
            raise ValueError(f"obsm[{name!r}] of ref= holds no spot that was held out. {FIT_AGAIN}")
        spots = Spots.of(ref, params)
        warn_of_changed_spots(ref, key, params, "the reference")
        layer = params.get("reference_layer", params["layer"])
        array, places = panel_of(ref, panel[chosen].tolist(), layer, params["target_rep"])
        slides, donors = spots.slides[rows], params.get("donors")
        if donors and not set(slides.tolist()) <= set(donors):
            raise ValueError(
                f"Slides of ref= are called {listed(np.unique(slides))}, but uns[{key!r}] was fitted on "
                f"{listed(donors)}. Name them as they were, or leave out ref= for scores without predictability."
            )
        return cls(
            measured=some_rows(stacked([array], [places], ["The expression of the reference"]), rows),
            predicted=predicted[rows],
            slides=slides,
            units=units_to_hold_out(slides, donors),
            centers=spots.centers[rows] if spots.is_placed else None,
            basis=basis(params, description.slides, held_out=True),
            columns=columns[chosen],
        )

    def predictability(self, how: Scoring) -> NDArray[np.float32]:
        """Return how well every set is predicted on tissue that was held out, less what is chance, (n_sets,)."""
        from bleep_sc.training.calibration import predictability

        predicted, measured = self._scores(how)
        return predictability(predicted.astype(np.float32), measured.astype(np.float32), self.slides, self.units)

    def pvalues(self, how: Scoring, n_permutations: int, random_state: int) -> NDArray[np.float64]:
        """Return how often maps without anything in common agree as well, (n_sets,); NaN without coordinates."""
        from bleep_sc.metrics._spatial_chance import chance_of_agreement

        if self.centers is None:
            logger.info("The reference has no coordinates, so that sets have no p-values: neighbours are alike.")
            return np.full(len(how.notes), np.nan)
        return chance_of_agreement(
            *self._scores(how),
            self.centers,
            self.slides,
            n_permutations=n_permutations,
            random_state=random_state,
        )

    def _scores(self, how: Scoring) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the scores of what was predicted and of what was measured, (n, n_sets) each."""
        return how.scores(self.predicted), how.scores(self.measured)


def check_made_by(record: Mapping[str, Any], ref: AnnData, key: str, layer: str) -> None:
    """Refuse to judge a layer by a reference that held out something else than what the layer is."""
    require_as_predicted(record, layer)
    if record["method"] != "bleep" or record["model_hash"] != model_hash(require_model(ref, key)):
        raise ValueError(
            f"ref= with uns[{key!r}] is not what layers[{layer!r}] was imputed from. Pass that one, and key=, the "
            "name of its model; or leave out ref= for scores without predictability."
        )
    fitted: Description = read_description(require_model(ref, key), key)
    made, on = params_of(dict(record), layer), fitted.params
    if (made["layer"], made["target_rep"]) != (on["layer"], on["target_rep"]):
        raise ValueError(
            f"layers[{layer!r}] averages layer={made['layer']!r}, target_rep={made['target_rep']!r} of the reference, "
            f"but ref= held out what the model was fitted on (layer={on['layer']!r}, target_rep={on['target_rep']!r}). "
            "Impute that, or leave out ref= for scores without predictability."
        )


def _called(ref: AnnData, panel: pd.Index, gene_key: str | None) -> pd.Index:
    """Return what the genes of the panel are called where genes of query and reference are compared."""
    place = ref.var_names.get_indexer(panel)
    return panel.where(place < 0, gene_names(ref, gene_key)[place])
