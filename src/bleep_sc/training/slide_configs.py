"""The hyper-parameters of what learns from the expression of slides alone, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HE2RNAConfig:
    """Hyper-parameters of :func:`bleep_sc.tl.fit_he2rna`.

    ``HE2RNAConfig()`` is a small network for tens of slides; :meth:`paper` is the published recipe.
    """

    n_hidden: int = 64
    """Width of the hidden layers."""
    n_layers: int = 1
    """Hidden layers."""
    dropout: float = 0.25
    """Dropout after every hidden layer."""
    shares: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0)
    """Shares of the tiles of a slide, those of the highest scores, whose mean it is: one is drawn for every batch; the
    mean over all of them predicts a slide."""
    max_tiles: int = 256
    """Tiles of a slide, at most, that are read in an epoch, drawn anew in every one: what bounds memory."""
    n_supertiles: int | None = None
    """Average the tiles of a slide over so many neighbourhoods, k-means of their places, before all else. None: take
    tiles as they are."""
    scale_features: bool = True
    """Divide features by their standard deviation over the tiles, instead of taking them as they are."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 1e-3
    """Weight decay of Adam."""
    batch_size: int = 16
    """Slides in a batch; fewer are one batch."""
    max_epochs: int = 100
    """Passes over the slides at most; where too few can be held out to choose, all of them."""
    n_folds: int = 5
    """Folds of the cross-validation over donors or slides that chooses the number of epochs, at most."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field."""
        _check_training(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"HE2RNAConfig.dropout={self.dropout!r} must lie in [0, 1).")
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"HE2RNAConfig.shares={self.shares!r} must be one or several above 0 and at most 1.")
        if self.n_supertiles is not None and self.n_supertiles < 1:
            raise ValueError(f"HE2RNAConfig.n_supertiles={self.n_supertiles!r} must be at least 1, or None.")
        for name in ("n_layers", "max_tiles"):
            if getattr(self, name) < 1:
                raise ValueError(f"HE2RNAConfig.{name}={getattr(self, name)!r} must be at least 1.")

    @classmethod
    def paper(cls) -> HE2RNAConfig:
        """Return the recipe for all genes of Schmauch et al., Nature Communications 2020: 100 supertiles."""
        return cls(
            n_hidden=1024,
            n_layers=2,
            shares=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
            n_supertiles=100,
            scale_features=False,
            learning_rate=3e-4,
            weight_decay=0.0,
            max_epochs=200,
        )


@dataclass(frozen=True)
class Hist2RNAConfig:
    """Hyper-parameters of :func:`bleep_sc.tl.fit_hist2rna`.

    ``Hist2RNAConfig()`` takes larger steps for tens of slides; :meth:`paper` is the published recipe.
    """

    n_hidden: int = 256
    """Width of the first layer; the two others are twice as wide."""
    scale_features: bool = True
    """Divide features by their standard deviation over the tiles, instead of taking them as they are."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Weight decay of Adam."""
    batch_size: int = 12
    """Slides in a batch; fewer are one batch."""
    max_epochs: int = 50
    """Passes over the slides at most; where too few can be held out to choose, all of them."""
    n_folds: int = 5
    """Folds of the cross-validation over donors or slides that chooses the number of epochs, at most."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field."""
        _check_training(self)

    @classmethod
    def paper(cls) -> Hist2RNAConfig:
        """Return the recipe in the code of Mondol et al., Cancers 2023: Adam with 1e-4, at most 500 epochs."""
        return cls(scale_features=False, learning_rate=1e-4, weight_decay=1e-2, max_epochs=500)


def _check_training(config: HE2RNAConfig | Hist2RNAConfig) -> None:
    """Refuse what cannot work of the fields that both have."""
    kind = type(config).__name__
    if not config.learning_rate > 0:
        raise ValueError(f"{kind}.learning_rate={config.learning_rate!r} must be positive.")
    if not config.weight_decay >= 0:
        raise ValueError(f"{kind}.weight_decay={config.weight_decay!r} must be zero or positive.")
    for name, least in (("n_hidden", 1), ("batch_size", 1), ("max_epochs", 1), ("n_folds", 2)):
        if getattr(config, name) < least:
            raise ValueError(f"{kind}.{name}={getattr(config, name)!r} must be at least {least}.")
