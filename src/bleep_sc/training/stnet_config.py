"""The hyper-parameters of ST-Net, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StNetConfig:
    """Hyper-parameters of :func:`bleep_sc.tl.fit_stnet`.

    ``StNetConfig()`` takes larger steps, and chooses among several learning rates; :meth:`paper` is the published
    recipe.
    """

    learning_rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    """Learning rates of SGD to choose from. The loss is summed over a batch, so that they are small."""
    momentum: float = 0.9
    """Momentum of SGD."""
    batch_size: int = 32
    """Spots in a batch; smaller references are one batch."""
    max_epochs: int = 30
    """Passes over the reference at most."""
    n_folds: int = 4
    """Folds of the cross-validation inside the reference that chooses learning rate and number of epochs, at most."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field."""
        if not self.learning_rates or not min(self.learning_rates) > 0:
            raise ValueError(f"StNetConfig.learning_rates={self.learning_rates!r} must be one or several above zero.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"StNetConfig.momentum={self.momentum!r} must lie in [0, 1).")
        for name, least in (("batch_size", 1), ("max_epochs", 1), ("n_folds", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"StNetConfig.{name}={getattr(self, name)!r} must be at least {least}.")

    @classmethod
    def paper(cls) -> StNetConfig:
        """Return the recipe of He et al., Nature Biomedical Engineering 2020: SGD with 1e-6, at most 50 epochs."""
        return cls(learning_rates=(1e-6,), max_epochs=50)
