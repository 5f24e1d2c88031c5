"""How slides and spots are drawn, as ``pl.spatial`` takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bleep_sc._output.arguments import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BESIDE, ON_DATA, NOWHERE = "right margin", "on data", "none"
"""Of legends, in scanpy's words; other places are those of matplotlib."""


@dataclass(frozen=True)
class Look:
    """How slides and spots are drawn."""

    img: bool | NDArray[Any] | None = True
    """The image: that of the slide, none, or another one of the same field."""
    img_alpha: float | None = None
    bw: bool = False
    crop_coord: Sequence[float] | None = None
    """Left, right, top and bottom, full-resolution px."""
    size: float = 1.0
    """What the diameter of the spots is multiplied by."""
    spot_size: float | None = None
    """Diameter of the spots, full-resolution px."""
    na_color: Any = None
    """Of spots without a value: where None, as scanpy has it, none over an image and grey elsewhere."""
    legend_loc: str | None = BESIDE
    frameon: bool | None = None

    def checked(self) -> Look:
        """Return it, or say what is wrong with it."""
        from matplotlib.colors import is_color_like
        from matplotlib.legend import Legend

        if self.img_alpha is not None and not 0 <= self.img_alpha <= 1:
            raise ValueError(f"img_alpha={self.img_alpha} must lie between 0 and 1.")
        if self.na_color is not None and not is_color_like(self.na_color):
            raise ValueError(f"na_color={shown(self.na_color)} is no colour. Pass one that matplotlib knows.")
        places = (BESIDE, ON_DATA, NOWHERE, *Legend.codes)
        if self.legend_loc is not None and self.legend_loc not in places:
            raise ValueError(f"legend_loc={shown(self.legend_loc)} is not known; use {', '.join(map(repr, places))}.")
        if self.crop_coord is not None:
            self._check_crop()
        return self

    def _check_crop(self) -> None:
        try:
            left, right, top, bottom = map(float, self.crop_coord or ())
        except (TypeError, ValueError):
            left, right, top, bottom = 1.0, 0.0, 1.0, 0.0
        if not (left < right and top < bottom):
            raise ValueError(
                f"crop_coord={shown(self.crop_coord)} must be (left, right, top, bottom) in full-resolution px, left "
                "below right and top below bottom: y points down."
            )
