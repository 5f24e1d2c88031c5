"""A layout of Bokeh inside a page that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bokeh.models import LayoutDOM


def embedded(view: LayoutDOM) -> tuple[str, str]:
    """Return what a page needs in its head to show a layout, and the layout."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    script, place = components(view)
    needed = Resources(mode="inline", components=["bokeh", "bokeh-widgets", "bokeh-tables"])
    return needed.render(), place + script
