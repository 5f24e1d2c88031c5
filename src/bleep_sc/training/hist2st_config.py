"""The hyper-parameters of Hist2ST, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hist2STConfig:
    """Hyper-parameters of :func:`bleep_sc.tl.fit_hist2st`.

    ``Hist2STConfig()`` is a small network for scaled pixels that trains without a GPU; :meth:`paper` is the published
    recipe.
    """

    tile_size: int = 14
    """Side of the squares that a patch is cut into, px."""
    n_channels: int = 32
    """Channels of the convolutions, a multiple of 8. With ``tile_size`` it sets the width of a token."""
    kernel_size: int = 5
    """Side of the kernels of the ConvMixer layers, in tiles; odd."""
    n_mixers: int = 2
    """ConvMixer layers."""
    n_layers: int = 1
    """Transformer layers."""
    n_graph_layers: int = 2
    """GraphSAGE layers."""
    n_heads: int = 2
    """Attention heads, each 64 wide."""
    dropout: float = 0.1
    """Dropout of the tiles and inside the transformer."""
    n_positions: int = 64
    """Rows, and columns, that the array may have; raised where the reference has more."""
    scale_pixels: bool = True
    """Bring pixels to values from -2 to 2, instead of taking those from 0 to 255 as they are."""
    max_spots: int | None = 64
    """Read larger sections in windows of so many neighbouring spots; None reads every section at once."""
    zinb_weight: float = 0.25
    """Weight of the likelihood of raw counts beside the squared error."""
    distillation_weight: float = 0.5
    """Weight of the squared distance from what augmented patches give together."""
    n_views: int = 1
    """Augmentations of the patches in a step."""
    learning_rate: float = 3e-3
    """Learning rate of Adam, a tenth less every 50 epochs."""
    max_epochs: int = 40
    """Passes over the reference; the model after the last one is kept."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming the field."""
        counts = ("tile_size", "n_channels", "kernel_size", "n_mixers", "n_layers", "n_graph_layers", "n_heads")
        for name in (*counts, "n_positions", "n_views", "learning_rate", "max_epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Hist2STConfig.{name}={getattr(self, name)!r} must be positive.")
        if self.n_channels % 8:
            raise ValueError(f"Hist2STConfig.n_channels={self.n_channels!r} must be a multiple of 8.")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Hist2STConfig.kernel_size={self.kernel_size!r} must be odd.")
        for name in ("zinb_weight", "distillation_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Hist2STConfig.{name}={getattr(self, name)!r} must not be negative; 0 leaves it out.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Hist2STConfig.dropout={self.dropout!r} must lie in [0, 1).")
        if self.max_spots is not None and self.max_spots < 1:
            raise ValueError(f"Hist2STConfig.max_spots={self.max_spots!r} must be at least 1, or None.")

    @classmethod
    def paper(cls) -> Hist2STConfig:
        """Return the recipe of Zeng et al., Briefings in Bioinformatics 2022: 350 epochs of Adam from 1e-5."""
        return cls(
            tile_size=7,
            n_layers=8,
            n_graph_layers=4,
            n_heads=16,
            dropout=0.2,
            scale_pixels=False,
            max_spots=None,
            n_views=5,
            learning_rate=1e-5,
            max_epochs=350,
        )
