"""Keywords of a plot that go to what matplotlib draws, and what is said of those that it does not know."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from bleep_sc._output.messages import a, did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NONE: Mapping[str, str] = {}


def require_style(
    function: str,
    style: Mapping[str, Any],
    drawn: str,
    artist: type,
    draw: Callable[..., Any] | None = None,
    instead: Mapping[str, str] = NONE,
) -> None:
    """Refuse keywords that neither an artist of matplotlib has, nor the function that draws it.

    ``function`` and ``drawn`` are what is called and what the keywords go to, as messages say it; ``instead`` is what
    does the same as a keyword of other packages.
    """
    own = () if draw is None else inspect.signature(draw).parameters
    unknown = [name for name in style if name not in own and not hasattr(artist, f"set_{name}")]
    if unknown:
        meant = "".join(f" In place of {name}= there is {instead[name]}." for name in unknown if name in instead)
        known = [*own, *(name.removeprefix("set_") for name in dir(artist) if name.startswith("set_"))]
        raise TypeError(
            f"pl.{function} does not take {listed(unknown)}.{meant or did_you_mean(unknown, known, cutoff=0.75)} "
            f"Keywords that it does not name go to {drawn}, {a(artist.__name__)} (alpha, zorder, ...)."
        )


def image_style(function: str, style: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """Return how a picture is drawn by ``imshow``: as is its own way, but for what is given."""
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    require_style(function, style, "the picture", AxesImage, Axes.imshow)
    if style.get("norm") is not None:  # which says itself where colours begin and end
        own = {name: value for name, value in own.items() if name not in ("vmin", "vmax")}
    if style.get("norm") is not None and not style.get("vmin") is style.get("vmax") is None:
        raise ValueError(f"norm={style['norm']!r} is given to pl.{function} with vmin= or vmax=. Pass either.")
    return {**own, **style}
