"""The hyper-parameters of ST-Net and of HisToGene, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bleep_sc.training.hist2st_config import Hist2STConfig

LARGEST_SECTION, WINDOW_SPOTS = 1000, 128
"""Sections of more spots than the former are compared in windows of the latter."""


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


@dataclass(frozen=True)
class HisToGeneConfig:
    """Hyper-parameters of :func:`bleep_sc.tl.fit_histogene`.

    ``HisToGeneConfig()`` is a small network for scaled pixels that trains without a GPU; :meth:`paper` is the published
    recipe.
    """

    n_dims: int = 256
    """Width of a token; the perceptrons are twice as wide."""
    n_layers: int = 2
    """Transformer layers."""
    n_heads: int = 4
    """Attention heads, which share the width of a token."""
    dropout: float = 0.1
    """Dropout of the tokens and inside the layers."""
    n_positions: int = 64
    """Rows, and columns, that the array may have; raised where the reference has more."""
    scale_pixels: bool = True
    """Bring pixels to values from -2 to 2, instead of taking those from 0 to 255 as they are."""
    max_spots: int | None = 256
    """Read larger sections in windows of so many neighbouring spots; None reads every section at once."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    max_epochs: int = 50
    """Passes over the reference; the model after the last one is kept."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field."""
        positive = ("n_dims", "n_layers", "n_heads", "n_positions", "learning_rate", "max_epochs")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"HisToGeneConfig.{name}={getattr(self, name)!r} must be positive.")
        if self.n_dims % self.n_heads:
            raise ValueError(f"HisToGeneConfig.n_dims={self.n_dims!r} must be a multiple of n_heads={self.n_heads!r}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"HisToGeneConfig.dropout={self.dropout!r} must lie in [0, 1).")
        if self.max_spots is not None and self.max_spots < 1:
            raise ValueError(f"HisToGeneConfig.max_spots={self.max_spots!r} must be at least 1, or None.")

    @classmethod
    def paper(cls) -> HisToGeneConfig:
        """Return the recipe of Pang et al., bioRxiv 2021: eight layers, raw pixels, Adam with 1e-5 for 100 epochs."""
        return cls(
            n_dims=1024, n_layers=8, n_heads=16, scale_pixels=False, max_spots=None, learning_rate=1e-5, max_epochs=100
        )


def in_windows(config: HisToGeneConfig | Hist2STConfig, n_spots: int) -> HisToGeneConfig | Hist2STConfig:
    """Return the configuration to compare on sections of so many spots, as the authors of BLEEP ran it on Visium."""
    most = min(config.max_spots or WINDOW_SPOTS, WINDOW_SPOTS)
    return replace(config, max_spots=most) if n_spots > LARGEST_SECTION else config
