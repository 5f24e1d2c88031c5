from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from bleep_sc._adata import keys, logs
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._adata.libraries import spots_of
from bleep_sc._adata.records import SAME_FIELD, feature_recipe, patch_recipe
from bleep_sc._arrays.blocks import dense, slices
from bleep_sc._output.arguments import shown
from bleep_sc._output.messages import a, listed, logger
from bleep_sc.bm._called import as_array, by_module, by_predictor, is_module
from bleep_sc.bm._folds import TARGET_SUM
from bleep_sc.bm._gene_names import match_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS, STANDARDISED = "counts", "standardised"
SPOTS = 4096
"""Spots whose predictions are read at once."""
UNSEEN = "trained elsewhere: nobody can check that it has not seen these slides"
"""What is said of such a method wherever its numbers stand."""


def external(
    model: Any,
    *,
    genes: Sequence[str] | None = None,
    units: str = "log1p",
    target_sum: float = TARGET_SUM,
    gene_ids: Mapping[str, str] | pd.Series | None = None,
    use_rep: str | None = None,
    patches_key: str = keys.PATCHES,
    size_um: float | None = None,
    batch_size: int | None = 64,
) -> External:
    """Make a method of a model that was trained elsewhere, or of what it predicted: nothing is fitted.

    It runs once a fold and takes no seed. What it was trained on is its authors' word: that the held-out slide was not
    among it, or the panel not chosen on it, cannot be checked here. Tables, summaries, figures and reports mark it
    (``trained_elsewhere``).

    Parameters
    ----------
    model
        One of

        - a function of patches (n, size, size, 3), uint8, or of features where ``use_rep`` names them, (n, n_features).
          It returns a DataFrame or a dict of arrays, one a gene, or an array (n, n_genes) whose columns ``genes``
          names;
        - a torch module of normalised images (B, 3, H, W), with ``pretrained_cfg``, or behind its normalisation:
          ``bleep_sc.models.load_encoder(module, transform=...)``; with ``use_rep``, of features. It returns
          (B, n_genes);
        - a predictor as LazySlide has them: ``predict(images)`` behind ``get_transform()``, or, with ``use_rep``,
          ``predict(features)``, also with coordinates (``needs_coords``) and a slide at a time (``whole_slide``);
        - predictions: a DataFrame (spots × genes), an AnnData, whose ``X`` they are, or the path of its h5ad file;
          of a layer ``adata.to_df("layer")``. Spots are found by their names.
    genes
        Names of the columns, where the model does not say them itself.
    units
        What its numbers are: ``"log1p"``, ``"log2(1+x)"`` or ``"log10(1+x)"`` of counts per ``target_sum``;
        ``"counts"``, which are divided by their total over all genes of the model; or ``"standardised"``: every gene is
        in units of its own, and gets mean and standard deviation of the training spots, which changes no correlation.
    target_sum
        Total that spots were brought to before the logarithm.
    gene_ids
        What the model calls the genes, by their names in the comparison, such as ``adata.var["gene_ids"]``. Names are
        compared as they are, then without regard to case and to the version of Ensembl ids.
    use_rep
        Key of the features in ``obsm`` that the model takes; :func:`bleep_sc.bm.cross_validate` must be given it too.
    patches_key
        Key of the patches in ``obsm``.
    size_um
        How much tissue, µm, a patch shows that the model was trained on: others are refused. Of features that of the
        patches that they were made from; where that is not known the log says so.
    batch_size
        Spots that are given to the model at once; None is a slide.

    Returns
    -------
    A callable ``(train, query)`` for :func:`bleep_sc.bm.cross_validate`. Genes of the comparison that the model does
    not predict are NaN: they are counted in the log and in ``n_predicted`` of a summary, and count as zero in a
    correlation.

    Raises
    ------
    ValueError
        For units that are not known, and, when it runs, where it shares no gene with the comparison, predicts something
        else than it says, or patches show another field of view.
    KeyError
        When it runs, for spots without a prediction.

    Examples
    --------
    After the example of :func:`bleep_sc.bm.cross_validate`, whose counts a model "predicts":

    >>> methods = {"theirs": bs.bm.external(adata.to_df() * 0.5, units="counts")}
    >>> compared = bs.bm.cross_validate(adata, methods, group_key="library_id", n_top_genes=40)
    >>> bool(compared.loc[compared["method"] == "theirs", "trained_elsewhere"].all())
    True
    """
    if units not in (COUNTS, STANDARDISED) and logs.base_of(units) is None:
        raise ValueError(
            f"units={units!r} is not known. Pass 'log1p', 'log2(1+x)', 'log10(1+x)', 'counts', or 'standardised' for "
            "genes in units of their own."
        )
    if isinstance(model, str | Path):
        if not Path(model).is_file():
            raise FileNotFoundError(f"model={str(model)!r} is no file. Pass the path of an h5ad file of predictions.")
        model = read_h5ad(model)
    if isinstance(model, AnnData | pd.DataFrame):
        if genes is not None:
            raise ValueError(
                f"genes={shown(genes)} names columns that have no names, and predictions bring theirs. Leave it out."
            )
        index = model.obs_names if isinstance(model, AnnData) else model.index
        if not index.is_unique:
            raise ValueError(f"The predictions name spots several times: {listed(index[index.duplicated()].unique())}.")
    elif not callable(model) and not callable(getattr(model, "predict", None)):
        raise TypeError(
            f"model={shown(model)} is {a(type(model).__name__)}, which can be neither called nor asked to predict. "
            "Pass a function of patches, a torch module, an object with predict(), or predictions: a DataFrame, an "
            "AnnData or the path of an h5ad file."
        )
    named = None if genes is None else tuple(map(str, genes))
    given = {} if gene_ids is None else dict(gene_ids)
    ids = {str(name): str(each) for name, each in given.items() if not pd.isna(each)}  # NaN: joined from several tables
    return External(model, named, units, float(target_sum), ids, use_rep, patches_key, size_um, batch_size)


@dataclass(frozen=True)
class External:
    """A model from elsewhere as a method of a comparison; the fields are the arguments of :func:`external`."""

    model: Any
    genes: tuple[str, ...] | None
    units: str
    target_sum: float
    gene_ids: dict[str, str]
    use_rep: str | None
    patches_key: str
    size_um: float | None
    batch_size: int | None

    def __call__(self, train: AnnData, query: AnnData) -> NDArray[np.float32]:
        """Predict the genes of the comparison, (n_query, n_genes), NaN where the model has none."""
        panel = train.var_names[train.var[keys.HIGHLY_VARIABLE].to_numpy()].astype(str).tolist()
        result = np.full((query.n_obs, len(panel)), np.nan, dtype=np.float32)
        columns: NDArray[np.intp] | None = None
        names: list[str] = []
        for rows, part in self._predicted(query):
            if columns is None:
                names = part.columns.astype(str).tolist()
                columns = self._matched(panel, names)
            elif part.columns.astype(str).tolist() != names:
                raise ValueError("The model named other genes for one batch than for another.")
            known = columns >= 0
            _check_whole(part)
            result[np.ix_(rows, known)] = self._converted(part.to_numpy(dtype=np.float64), columns[known])
        return self._as_measured(result, train, panel) if self.units == STANDARDISED else result

    def _predicted(self, query: AnnData) -> Iterator[tuple[NDArray[np.intp], pd.DataFrame]]:
        """Return some spots after others and what is predicted for them."""
        if isinstance(self.model, AnnData | pd.DataFrame):
            index = self.model.obs_names if isinstance(self.model, AnnData) else self.model.index
            places = index.get_indexer(query.obs_names)
            if (places < 0).any():
                raise KeyError(
                    f"The predictions lack {int((places < 0).sum())} of {query.n_obs} spots, such as "
                    f"{listed(query.obs_names[places < 0], 3)} (they have: {listed(index, 3)}). Name spots alike."
                )
            for part in slices(query.n_obs, SPOTS):
                own = self.model[places[part]] if isinstance(self.model, AnnData) else self.model.iloc[places[part]]
                if isinstance(own, AnnData):
                    own = pd.DataFrame(dense(own.X), index=own.obs_names, columns=own.var_names)
                yield np.arange(query.n_obs)[part], own
            return
        inputs = self._inputs(query)
        if is_module(self.model):
            yield np.arange(query.n_obs), self._named(by_module(self.model, inputs[0], self.batch_size), query.n_obs)
            return
        predict = self._predictor()
        for rows in self._batches(query):
            yield rows, self._named(predict(*(each[rows] for each in inputs)), len(rows))

    def _inputs(self, query: AnnData) -> list[NDArray[Any]]:
        """Return what the model takes of the spots: patches, or features and, where it asks for them, places."""
        self._check_field(query)
        if self.use_rep is None:
            remedy = "The model takes patches: run bleep_sc.pp.extract_patches(adata) first, or pass use_rep=."
            return [np.asarray(require_obsm(query, self.patches_key, remedy))]
        remedy = "The model takes features: pass use_rep= to bleep_sc.bm.cross_validate, too."
        inputs = [np.asarray(require_obsm(query, self.use_rep, remedy), dtype=np.float32)]
        if getattr(self.model, "needs_coords", False):
            inputs.append(np.asarray(require_obsm(query, keys.SPATIAL, "The model takes coordinates.")))
        return inputs

    def _check_field(self, query: AnnData) -> None:
        key = self.patches_key if self.use_rep is None else self.use_rep
        if self.size_um is None or key not in query.obsm:
            return
        shown_um = _shown_um(query, key, of_features=self.use_rep is not None)
        if not np.isfinite(shown_um):
            logger.warning("How much tissue obsm[%r] shows is not known; the model wants %g µm.", key, self.size_um)
        elif abs(shown_um / self.size_um - 1) > SAME_FIELD:
            raise ValueError(
                f"obsm[{key!r}] shows {shown_um:.0f} µm of tissue, and the model was trained on "
                f"size_um={self.size_um:g}. Cut patches for it under a key of their own: "
                f"bleep_sc.pp.extract_patches(adata, size_um={self.size_um:g}, key_added='patches_wide'), and pass "
                "patches_key=."
            )

    def _batches(self, query: AnnData) -> Iterator[NDArray[np.intp]]:
        """Return the spots that are given at once."""
        if self.batch_size is None or getattr(self.model, "whole_slide", False):
            yield from spots_of(query.obs[keys.LIBRARY].astype(str).to_numpy()).values()
            return
        for part in slices(query.n_obs, self.batch_size):
            yield np.arange(query.n_obs)[part]

    def _predictor(self) -> Callable[..., Any]:
        """Return the function of one batch."""
        predict = getattr(self.model, "predict", None)
        if not callable(predict):
            return self.model
        transform = getattr(self.model, "get_transform", None)
        if self.use_rep is not None or not callable(transform):
            return predict
        return lambda patches: by_predictor(predict, transform(), patches)

    def _named(self, result: Any, n: int) -> pd.DataFrame:
        """Return what a model predicted for n spots with the names of its genes."""
        if isinstance(result, Mapping):
            result = pd.DataFrame({str(name): as_array(each).reshape(-1) for name, each in result.items()})
        if not isinstance(result, pd.DataFrame):
            values = as_array(result)
            if self.genes is None:
                raise ValueError(
                    f"The model returned an array of shape {values.shape}, whose columns have no names. Pass genes= to "
                    "bleep_sc.bm.external."
                )
            if values.shape != (n, len(self.genes)):
                raise ValueError(
                    f"The model returned an array of shape {values.shape} for {n} spots, and genes= names "
                    f"{len(self.genes)}."
                )
            return pd.DataFrame(values, columns=list(self.genes))
        if len(result) != n:
            raise ValueError(f"The model returned {len(result)} rows for {n} spots.")
        if self.genes is not None:
            raise ValueError("genes= names columns that have no names, and the model names its own. Leave it out.")
        return result

    def _matched(self, panel: list[str], names: list[str]) -> NDArray[np.intp]:
        """Return the column of every gene of the comparison, -1 where the model has none."""
        wanted = [self.gene_ids.get(gene, gene) for gene in panel]
        columns = match_names(wanted, names)
        known = int((columns >= 0).sum())
        if not known:
            raise ValueError(
                f"The model predicts none of the {len(panel)} genes of the comparison: it has {listed(names, 3)}, and "
                f"asked for are {listed(wanted, 3)}. Pass gene_ids=, such as adata.var['gene_ids'], what the model "
                "calls the genes by their names here."
            )
        logger.info("%d of %d genes of the comparison are among the %d of the model.", known, len(panel), len(names))
        return columns

    def _converted(self, values: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """Carry predictions (n, n_genes) of all genes of the model to log1p of counts per 10⁴, (n, n_columns)."""
        own = values[:, columns]
        base = logs.base_of(self.units)
        if self.units == STANDARDISED:
            return own
        if base is None:
            total = np.maximum(values[:, np.isfinite(values).all(axis=0)], 0).sum(axis=1, keepdims=True)
            if not (total > 0).all():
                raise ValueError(
                    f"The model predicts no counts for {int((total <= 0).sum())} of {len(total)} spots, whose total is "
                    "0. Leave them out of the comparison, or pass units= as they are."
                )
            return np.log1p(np.maximum(own, 0) * TARGET_SUM / total)
        if self.units == logs.NATURAL and self.target_sum == TARGET_SUM:
            return own
        rate = np.maximum(np.expm1(own * np.log(base)), 0)
        return np.log1p(rate * TARGET_SUM / self.target_sum)

    @staticmethod
    def _as_measured(values: NDArray[np.float32], train: AnnData, panel: list[str]) -> NDArray[np.float32]:
        """Give every gene the mean and the standard deviation that it has over the training spots."""
        known = dense(train[:, panel].X)
        return (known.mean(axis=0) + values * known.std(axis=0)).astype(np.float32)


def _shown_um(query: AnnData, key: str, *, of_features: bool) -> float:
    """Return how much tissue patches show, or those that features are of, µm; NaN where that is not known."""
    recipe = feature_recipe(query, key) if of_features else patch_recipe(query, key)
    return float(recipe.get("size_um", np.nan))


def _check_whole(predicted: pd.DataFrame) -> None:
    """Refuse genes that are predicted for some spots alone: their totals and means would be of others."""
    known = np.isfinite(predicted.to_numpy(dtype=np.float64))
    if torn := predicted.columns[known.any(axis=0) & ~known.all(axis=0)].tolist():
        raise ValueError(
            f"The model predicts {len(torn)} genes for some spots alone, such as {listed(torn, 3)}. A gene is finite "
            "in all spots, or NaN in all."
        )
