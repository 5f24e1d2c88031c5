"""Features that are known to come from expression: by their name, by their record, and by what they were made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc._adata.records import feature_recipe
from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

OF_OTHERS = (
    r"pca|umap|densmap|t_?sne|diffmap|diffusion_?map|phate|draw_graph|mde|lsi|svd|nmf|ica|cca"
    r"|(linear_?)?scvi|scanvi|totalvi|multivi|peakvi|gimvi|resolvi|mrvi|scgpt|geneformer|scfoundation|uce|nicheformer"
    r"|scalex|scanorama|(fast)?mnn|liger|mofa|glue|stagate|graphst|spagcn|deepst|banksy|spatial_?pca|cellcharter|novae"
    r"|tangram|expression|(log_?)?counts|log1p|rna|gex|transcriptome|genes?"
)
"""What scanpy and its neighbours call what they compute from the expression of all spots at once."""
ANYWHERE = r".*(harmony|cell_?abundance)"
OF_OURS = [key_of(".*").removeprefix("X_") for key_of in keys.FROM_EXPRESSION]
"""The image side of a joint embedding is one of them: training has bent it towards expression."""
NAMES = re.compile("|".join((rf"(X_)?({OF_OTHERS})(?![a-z]).*", rf"{ANYWHERE}.*", *OF_OURS)), re.IGNORECASE)


def check_origins(adata: AnnData, use_rep: Sequence[str]) -> None:
    """Refuse features that were computed from expression, or from what was; say of which nothing is known."""
    for key in use_rep:
        if key not in adata.obsm:
            raise KeyError(
                f"use_rep={key!r} not found (adata.obsm has: {listed(adata.obsm)}). Run "
                "bleep_sc.pp.image_features(adata) first."
            )
        for origin in _made_of(adata, key):
            if feature_recipe(adata, origin):
                break
            if NAMES.fullmatch(origin) or "var_names" in adata.uns.get(origin, {}):  # the latter by pp.batch_correct
                made_of = "" if origin == key else f" was made of obsm[{origin!r}], which"
                raise ValueError(
                    f"use_rep={key!r}{made_of} was computed from the expression of all spots, the held-out ones "
                    "included. Pass features of the images; if it holds nothing else, keep it under another name."
                )
        else:
            logger.info("obsm[%r] does not say how it was made: what it tells of expression is measured.", key)


def _made_of(adata: AnnData, key: str) -> list[str]:
    """Return the key of features, and of those that they were made of, by their records."""
    keys_of: list[str] = []
    while key not in keys_of:
        keys_of.append(key)
        record = adata.uns.get(key, {})
        key = str(record.get("context_of", key)) if isinstance(record, Mapping) else key
    return keys_of
