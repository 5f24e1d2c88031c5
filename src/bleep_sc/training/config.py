"""The hyper-parameters of BLEEP, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

View = Literal["raw", "components", "aligned", "scaled"]
NeighborWeights = Literal["uniform", "distance", "anchors"]


@dataclass(frozen=True)
class FitConfig:
    """Hyper-parameters of :func:`bleep_sc.tl.fit`.

    ``FitConfig()`` is what predicted held-out tissue best (the ablation is in the documentation); :meth:`paper` is the
    published method. It is one list, in the order of the work, since a model records it, and
    :func:`dataclasses.replace` changes it, as one.
    """

    # The model.
    n_dims: int = 256
    """Width of the joint embedding of one pair of heads."""
    dropout: float = 0.1
    """Dropout inside the projection heads."""
    views: tuple[View, ...] = ("raw", "components", "aligned")
    """Heads of each, trained on the same batches; similarities are means over them. How each sees features of a
    frozen encoder: ``"raw"``, as they are; ``"components"``, the same, trained on their principal components;
    ``"aligned"``, less what the stain of their slide adds (:class:`bleep_sc.models.alignment.Alignment`); ``"scaled"``,
    in units of their slide. A view may be named several times. Encoders that are trained see patches as they are."""
    n_models: int = 1
    """Pairs of heads of every view, which differ in the random weights that they begin with."""
    n_components: int | None = 256
    """Principal components of the features that image heads are trained on, but for ``"raw"``; None: all of them."""
    train_encoder: bool = False
    """Train the image encoder with the heads, where patches are given, instead of freezing it."""

    # Its training.
    temperature: float = 4.0
    """Temperature of the contrastive loss."""
    soft_targets: bool = True
    """Targets of the loss are smoothed by how alike spots are (:func:`bleep_sc.models.bleep_loss`). False: every other
    spot of a batch is a negative, as in CLIP (:func:`bleep_sc.models.clip_loss`)."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW."""
    weight_decay: float = 1e-3
    """Weight decay of AdamW."""
    batch_size: int = 256
    """Spots in a contrastive batch; smaller references are one batch."""
    max_epochs: int = 200
    """Passes over the reference."""
    validation_fraction: float = 0.0
    """Share of the spots, drawn at random, that weights are not trained on, so that those of the epoch with the lowest
    loss on them are kept, as the public code does with 0.2. They are neighbours of others on the same slides, which
    flatters the loss. 0: all spots are trained on, and the last epoch is kept."""
    stain_jitter: float = 0.0
    """While the encoder is trained, scale the stains of every patch by up to this share; 0.2 is a marked difference."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Numbers that the model computes with while it is trained; weights and loss are float32 always. ``"auto"``:
    bfloat16 for the training of an encoder on a GPU that has it, which takes half the memory, else float32."""
    chunk_size: int | None = None
    """Spots whose activations are in memory at once; None: those of a batch. Smaller ones give the same gradients in a
    third more time, but for batch norm, which sees chunks."""

    # Reading off the reference.
    n_neighbors: int = 50
    """Reference spots behind every imputed spot; of ``neighbor_weights="anchors"``, the pairs of a spot of its slide
    and one of the reference."""
    neighbor_weights: NeighborWeights = "uniform"
    r"""What every one of them counts. ``"uniform"``: the same; ``"distance"``: :math:`e^{-d^2}` of the distance
    :math:`d` of embeddings as they are, as the public code weighs them; ``"anchors"``: what pairs of spots that are
    nearest to each other say of the tissue around (:func:`bleep_sc.models.anchor_weights`). A spot is then predicted
    with the others of its slide."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """How near a reference spot is."""
    regression: bool = True
    """Correct the retrieved mean by a ridge regression on the joint embedding, as far as held-out slides support it."""
    regression_penalty: float = 10.0
    """Penalty of that regression; embeddings have norm one."""
    smoothing_um: float | None = None
    """Standard deviation, µm, by which the embedding of a spot is averaged with those of the tissue around it before it
    is looked for; None: what predicts held-out slides of the reference best, and 0 where none was held out."""

    # What held-out slides teach.
    cross_fit: bool = True
    """Hold out donors, slides, or parts of a single slide, one after another, to learn what predictions are worth."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field; numbers of numpy become plain ones."""
        for name, value in vars(self).items():
            if hasattr(value, "item"):
                object.__setattr__(self, name, value.item())
        views: object = self.views
        if isinstance(views, str):
            raise ValueError(f"FitConfig.views={views!r} must be a tuple, as in views=({views!r},).")
        object.__setattr__(self, "views", tuple(self.views))
        positive = (
            "n_dims",
            "n_models",
            "temperature",
            "learning_rate",
            "max_epochs",
            "n_neighbors",
            "regression_penalty",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"FitConfig.{name}={getattr(self, name)!r} must be positive.")
        if self.n_components is not None and self.n_components < 1:
            raise ValueError(f"FitConfig.n_components={self.n_components!r} must be positive, or None.")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"FitConfig.chunk_size={self.chunk_size!r} must be positive, or None.")
        if self.batch_size < 2:
            raise ValueError(
                f"FitConfig.batch_size={self.batch_size!r} must be at least 2: a contrast needs two spots."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"FitConfig.dropout={self.dropout!r} must lie in [0, 1).")
        if self.weight_decay < 0:
            raise ValueError(f"FitConfig.weight_decay={self.weight_decay!r} must not be negative.")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"FitConfig.validation_fraction={self.validation_fraction!r} must lie in [0, 1).")
        if not 0 <= self.stain_jitter < 1:
            raise ValueError(f"FitConfig.stain_jitter={self.stain_jitter!r} must lie in [0, 1).")
        if not self.views:
            raise ValueError(f"FitConfig.views={self.views!r} must name at least one of {get_args(View)}.")
        if unknown := [view for view in self.views if view not in get_args(View)]:
            raise ValueError(f"FitConfig.views={self.views!r} names {unknown[0]!r}; use some of {get_args(View)}.")
        if self.smoothing_um is not None and not 0 <= self.smoothing_um < float("inf"):
            raise ValueError(f"FitConfig.smoothing_um={self.smoothing_um!r} must not be negative, or None.")
        if self.smoothing_um and self.metric != "cosine":
            raise ValueError(
                f"FitConfig.smoothing_um={self.smoothing_um!r} averages directions; it needs metric='cosine', or is 0."
            )
        if self.stain_jitter and not self.train_encoder:
            raise ValueError(
                "FitConfig.stain_jitter changes patches while their encoder is trained, and this one is frozen. Set "
                "train_encoder=True, or make slides alike beforehand: bleep_sc.pp.normalize_stains."
            )
        choices = {
            "precision": ("auto", "float32", "bfloat16"),
            "metric": ("cosine", "euclidean"),
            "neighbor_weights": get_args(NeighborWeights),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"FitConfig.{name}={getattr(self, name)!r} is not known; use one of {known}.")

    @property
    def heads(self) -> tuple[View, ...]:
        """The view of every pair of heads."""
        return self.views * self.n_models

    @classmethod
    def paper(cls) -> FitConfig:
        """Return the method of Xie et al., NeurIPS 2023: the encoder is trained, for 150 epochs, on all slides."""
        return cls(
            train_encoder=True,
            temperature=1.0,
            views=("raw",),
            batch_size=512,
            max_epochs=150,
            n_components=None,
            regression=False,
            smoothing_um=0.0,
            cross_fit=False,
        )

    @classmethod
    def v0_1(cls) -> FitConfig:
        """Return the default of version 0.1, for work that was begun with it."""
        return cls(views=("scaled",), n_models=3, regression_penalty=3.0, smoothing_um=0.0)
