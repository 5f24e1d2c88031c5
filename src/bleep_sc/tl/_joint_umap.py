from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.expression import log_expression, predicted_genes
from bleep_sc._adata.libraries import libraries
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed
from bleep_sc.metrics import Mixing, batch_mixing

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

N_COMPS = 20
PERPLEXITY = 30.0


def joint_umap(
    adata: AnnData,
    ref: AnnData,
    layer: str = "bleep",
    *,
    ref_layer: str | None = None,
    n_neighbors: int = 15,
    library_key: str | None = None,
    random_state: int = 0,
    copy: bool = False,
) -> AnnData | None:
    """Lay predictions out among the measured profiles of their reference (supplementary figure 1 of the paper).

    PCA is fitted on the reference profiles alone; predictions are projected into it, and UMAP lays both out together.
    How well the slides mix is scored in the space of the principal components: predictions should lie among the
    reference, and not beside it.

    Parameters
    ----------
    adata
        The query, with a predicted layer.
    ref
        The reference.
    layer
        The predicted layer.
    ref_layer
        Layer of the reference in the same units; None is ``X``.
    n_neighbors
        Of the graph. PCA has 20 components.
    library_key
        Column of ``obs`` of both that names the slide; None as in :func:`bleep_sc.tl.fit`.
    random_state
        Seeds PCA and UMAP.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm["X_{layer}_umap"]`` : float32, (n_obs, 2)
        The predictions.
    ``uns["{layer}_umap"]`` : dict
        ``reference`` (n_ref, 2) and ``reference_library`` (n_ref,), and how the slides mix, from 0 to 1: ``lisi`` and
        ``silhouette`` (see :class:`bleep_sc.metrics.Mixing`).

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.joint_umap(adata_query, adata_ref)
    >>> adata_query.obsm["X_bleep_umap"].shape[1]
    2
    """
    import scanpy as sc

    components, slides = among_reference(adata, ref, layer, ref_layer, library_key, random_state)
    joint = sc.AnnData(np.empty((len(components), 0), dtype=np.float32), obsm={"X_pca": components})
    sc.pp.neighbors(joint, n_neighbors=n_neighbors, use_rep="X_pca", random_state=random_state)
    sc.tl.umap(joint, random_state=random_state)
    mixing = mixing_of(components, slides)
    layout = np.asarray(joint.obsm["X_umap"], dtype=np.float32)
    adata = adata.copy() if copy else adata
    with all_or_nothing(adata):
        adata.obsm[keys.umap(layer)] = layout[ref.n_obs :]
        adata.uns[keys.umap_record(layer)] = {
            "reference": layout[: ref.n_obs],
            "reference_library": slides[: ref.n_obs],
            **asdict(mixing),
        }
    return adata if copy else None


def among_reference(
    adata: AnnData,
    ref: AnnData,
    layer: str,
    ref_layer: str | None,
    library_key: str | None,
    random_state: int,
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the reference, and below it the predictions, on its principal components; and the slides of both."""
    from sklearn.decomposition import PCA

    known = predicted_genes(adata, layer)
    if not known.any():
        raise ValueError(f"layers[{layer!r}] holds no predicted gene.")
    profiles, names = log_expression(ref, ref_layer), adata.var_names[known]
    absent = names.difference(ref.var_names)
    if len(absent):
        raise KeyError(
            f"ref lacks {len(absent)} of the predicted genes ({listed(absent, 3)}). Pass the same reference."
        )
    theirs = dense(profiles[:, ref.var_names.get_indexer(names)])
    ours = dense(adata.layers[layer][:, known])
    pca = PCA(min(N_COMPS, min(theirs.shape) - 1), random_state=random_state).fit(theirs)
    components = np.concatenate([pca.transform(theirs), pca.transform(ours)]).astype(np.float32)
    return components, np.concatenate([libraries(ref, library_key), libraries(adata, library_key)])


def mixing_of(components: NDArray[np.float32], slides: NDArray[np.str_]) -> Mixing:
    """Score how slides mix, however few spots they have."""
    return batch_mixing(components, slides, perplexity=min(PERPLEXITY, (len(components) - 1) / 3))
