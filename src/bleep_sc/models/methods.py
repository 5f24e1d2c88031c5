"""Every method that can be fitted, a row each. How to add one: docs/howto/add_a_method.md."""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal


@dataclass(frozen=True)
class Method:
    """What the package has to know of a method. Parts are named, ``"module:name"``, and loaded when they are needed."""

    title: str
    """What it is called."""
    network: str
    """Builds its module from the ``architecture`` of a description, and from ``encoder`` where one is trained."""
    fit: str | None
    """Trains it on arrays: ``(pairs, slides, *, units, config, encoder, random_state, device, show_progress_bar)`` to
    :class:`bleep_sc.training.pairs.Learnt`; ``units`` is what each spot is held out with. None: by
    :func:`bleep_sc.tl.fit`."""
    predict: str | None
    """Predicts (n, n_genes) from images: ``(module, images, *, config, device)``. None: by retrieval, which is
    :func:`bleep_sc.tl.impute`."""
    images: Literal["features", "any", "pixels"]
    """Features of a frozen encoder; these, or patches that an encoder turns into features and is trained on; or patches
    as they are."""
    config: str | None = None
    """Its hyper-parameters, a dataclass with :meth:`paper`, where it has any."""
    encoder: str = "resnet50"
    """The encoder of patches, unless another one is named."""
    is_random: bool = True
    """Whether a comparison with several seeds runs it once a seed."""
    in_sections: bool = False
    """Whether it reads whole sections: ``fit`` and ``predict`` are also given ``positions``, row and column of every
    spot on its array, (n, 2), and ``predict`` is given ``sections``, (n,)."""
    with_neighbors: bool = False
    """Whether it asks which spots are neighbours: ``fit`` and ``predict`` are also given ``centers``, (x, y) of every
    spot in full-resolution px, (n, 2)."""
    in_counts: bool = False
    """Whether it learns from raw counts as well: ``fit`` is also given ``counts`` of its genes, (n, n_genes), or None
    where there are none."""
    of_slides: bool = False
    """Whether it learns from what slides amount to as a whole: ``fit`` is then given
    :class:`bleep_sc.training.slide_pairs.SlidePairs`, and names and units of slides instead of spots."""
    published_on_features: bool = True
    """Whether the published hyper-parameters are also those to compare on features of a frozen encoder."""
    published_px: int | None = None
    """Side of the patches that it was published with, to which a comparison cuts down larger ones."""
    for_large_sections: str | None = None
    """Gives the hyper-parameters to compare on sections of so many spots: ``(config, n_spots)``."""

    def load(self, part: str) -> Any:
        """Return what a part names; None where it names nothing."""
        name = getattr(self, part)
        return None if name is None else resolve_name(name)


METHODS = {
    "ridge": Method(
        title="ridge regression",
        network="bleep_sc.models.ridge:linear",
        fit="bleep_sc.training.ridge:fit_ridge",
        predict="bleep_sc.models.ridge:predict",
        images="features",
        is_random=False,
    ),
    "stnet": Method(
        title="ST-Net",
        network="bleep_sc.models.stnet:StNet",
        fit="bleep_sc.training.stnet:fit_stnet",
        predict="bleep_sc.models.stnet:predict",
        images="any",
        config="bleep_sc.training.baseline_configs:StNetConfig",
        encoder="densenet121",
        published_on_features=False,
    ),
    "histogene": Method(
        title="HisToGene",
        network="bleep_sc.models.histogene:HisToGene",
        fit="bleep_sc.training.histogene:fit_histogene",
        predict="bleep_sc.models.histogene:predict",
        images="pixels",
        config="bleep_sc.training.baseline_configs:HisToGeneConfig",
        in_sections=True,
        published_px=112,
        for_large_sections="bleep_sc.training.baseline_configs:in_windows",
    ),
    "hist2st": Method(
        title="Hist2ST",
        network="bleep_sc.models.hist2st:Hist2ST",
        fit="bleep_sc.training.hist2st:fit_hist2st",
        predict="bleep_sc.models.histogene:predict",
        images="pixels",
        config="bleep_sc.training.hist2st_config:Hist2STConfig",
        in_sections=True,
        with_neighbors=True,
        in_counts=True,
        published_px=112,
        for_large_sections="bleep_sc.training.baseline_configs:in_windows",
    ),
    "he2rna": Method(
        title="HE2RNA",
        network="bleep_sc.models.he2rna:HE2RNA",
        fit="bleep_sc.training.he2rna:fit_he2rna",
        predict="bleep_sc.models.he2rna:predict",
        images="features",
        config="bleep_sc.training.slide_configs:HE2RNAConfig",
        of_slides=True,
    ),
    "hist2rna": Method(
        title="hist2RNA",
        network="bleep_sc.models.hist2rna:Hist2RNA",
        fit="bleep_sc.training.hist2rna:fit_hist2rna",
        predict="bleep_sc.models.he2rna:predict",
        images="features",
        config="bleep_sc.training.slide_configs:Hist2RNAConfig",
        of_slides=True,
    ),
    "bleep": Method(
        title="BLEEP",
        network="bleep_sc.models.bleep:BLEEP",
        fit=None,
        predict=None,
        images="any",
        config="bleep_sc.training.config:FitConfig",
    ),
}
