"""The regressions of HEST-Bench on image features, as it sets them: what encoders are compared by.

Features are standardised and brought to 256 principal components; nothing is tuned. Facts are those of the code of HEST
(Jaume et al., NeurIPS 2024; mahmoodlab/HEST, ``src/hest/bench``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._arrays.blocks import dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N_COMPONENTS, SEED = 256, 1
"""Principal components of the features, and the seed of their approximation."""
PENALTY = 100.0
"""Of the ridge regression, over the number of components times that of genes."""
N_TREES, DEPTH = 70, 16
"""Of the forest: trees, and how deep each may be, which is the default of cuML."""
N_TARGETS = 30
"""Principal components of expression by which the forest chooses its splits."""
N_ROUNDS = 100
"""Trees of a gene that boosting adds up."""


def hest_ridge(train: AnnData, query: AnnData, *, use_rep: Sequence[str]) -> NDArray[np.float32]:
    """Fit the ridge regression of HEST-Bench, whose penalty is given: 100 / (components × genes).

    HEST fits no intercept to components that are centred. Here the mean of the training spots is added, which changes
    no correlation.
    """
    from sklearn.linear_model import Ridge

    known, queries = _components(train, query, use_rep)
    expression = _panel(train)
    model = Ridge(PENALTY / (known.shape[1] * expression.shape[1])).fit(known, expression)
    return np.asarray(model.predict(queries), dtype=np.float32).reshape(len(queries), -1)


def random_forest(
    train: AnnData, query: AnnData, *, use_rep: Sequence[str], random_state: int = 0
) -> sparse.csr_matrix:
    """Average the training spots that trees put into a leaf with the query; return their weights.

    HEST grows a forest a gene on a GPU. Here one of as many trees serves all genes: its splits are chosen for the first
    30 principal components of expression, and a leaf predicts the mean of its training spots, gene by gene.
    """
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestRegressor

    known, queries = _components(train, query, use_rep)
    expression = _panel(train)
    targets = PCA(min(N_TARGETS, *expression.shape), random_state=SEED).fit_transform(expression)
    forest = RandomForestRegressor(N_TREES, max_depth=DEPTH, random_state=random_state).fit(known, targets)
    return leaf_weights(forest.apply(known), forest.apply(queries), forest.estimators_samples_)


def leaf_weights(
    known: NDArray[np.integer], queries: NDArray[np.integer], drawn: Sequence[NDArray[np.integer]]
) -> sparse.csr_matrix:
    """Return how much every training spot counts for a query in the mean of a forest, (n_queries, n_known).

    ``known`` (n_known, n_trees) and ``queries`` (n_queries, n_trees) are the leaves of the spots; ``drawn`` are, for
    every tree, the training spots that it was grown on, some of them several times.
    """
    n_trees = len(drawn)
    result = sparse.csr_matrix((len(queries), len(known)), dtype=np.float64)
    for tree, spots in enumerate(drawn):
        times = np.bincount(spots, minlength=len(known)).astype(np.float64)
        n_leaves = int(max(known[:, tree].max(), queries[:, tree].max())) + 1
        members = sparse.csr_matrix((times, (known[:, tree], np.arange(len(known)))), shape=(n_leaves, len(known)))
        size = np.asarray(members.sum(axis=1)).ravel()
        inside = sparse.csr_matrix(
            (1 / size[queries[:, tree]], (np.arange(len(queries)), queries[:, tree])), shape=(len(queries), n_leaves)
        )
        result += inside @ members
    return sparse.csr_matrix(result / n_trees)


def boosting(train: AnnData, query: AnnData, *, use_rep: Sequence[str], random_state: int = 0) -> NDArray[np.float32]:
    """Boost trees of three levels on every gene by itself, with the settings that HEST gives XGBoost.

    100 trees, a learning rate of 0.1, an L2 penalty of 1, and four in five components at every split. scikit-learn's
    histogram boosting draws no share of the spots for a tree, where HEST draws four in five.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    known, queries = _components(train, query, use_rep)
    expression = _panel(train)
    result = np.empty((len(queries), expression.shape[1]), dtype=np.float32)
    for gene, values in enumerate(expression.T):
        model = HistGradientBoostingRegressor(
            max_iter=N_ROUNDS,
            learning_rate=0.1,
            max_depth=3,
            min_samples_leaf=1,
            l2_regularization=1.0,
            max_features=0.8,
            early_stopping=False,
            random_state=random_state,
        )
        result[:, gene] = model.fit(known, values).predict(queries)
    return result


def _components(train: AnnData, query: AnnData, use_rep: Sequence[str]) -> tuple[Floats, Floats]:
    """Return principal components of the standardised features of both sides, (n_train, k) and (n_query, k)."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, queries = (
        np.concatenate([np.asarray(adata.obsm[key], dtype=np.float64) for key in use_rep], axis=1)
        for adata in (train, query)
    )
    n_components = min(N_COMPONENTS, len(known) - 1, known.shape[1])
    model = make_pipeline(StandardScaler(), PCA(n_components, random_state=SEED)).fit(known)
    return model.transform(known), model.transform(queries)


def _panel(train: AnnData) -> Floats:
    """Return the expression of the genes to predict, (n_train, n_genes)."""
    return dense(train[:, train.var[keys.HIGHLY_VARIABLE].to_numpy()].X).astype(np.float64)
