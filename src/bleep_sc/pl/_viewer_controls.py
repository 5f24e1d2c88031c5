"""The view of a slide in Bokeh: the plot, the list of genes, and what happens when one is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc.pl._colors import EXPRESSION, TRUST, WARNING
from bleep_sc.pl._viewer_columns import NONE, STEPS

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, LayoutDOM
    from bokeh.plotting import figure as Figure

    from bleep_sc.pl._viewer_picture import Picture

TEXT, GREY = "#222222", "#9a9a9a"
"""Of genes that are to be read, and of others."""
CONFIDENCE, ALIKE = "confidence", "like the reference"
OPACITY = 0.7
HEIGHT, LIST_HEIGHT = 640, 380
SHOW = """
const row = genes.selected.indices[0] ?? 0, by = choice.active
const of = by > 0 ? overlays[by - 1] : Object.fromEntries(Object.entries(genes.data).map(([k, v]) => [k, v[row]]))
places.data.value = maps.data[of.map]
places.data.of_gene = maps.data[genes.data.map[row]]
fill.setv({low: of.start, high: of.end, palette: by > 0 ? other : own})
const real = (step) => of.low + step / STEPS * (of.high - of.low)
bar.setv({low: real(of.start), high: real(of.end), palette: fill.palette})
scale.title = new scale.title.constructor({text: of.title})
said.text = of.says
places.change.emit()
""".replace("STEPS", str(STEPS))
"""Lays what is chosen over the slide: a gene, or one of the overlays."""
SEARCH = """
let typed = document.activeElement
while (typed?.shadowRoot?.activeElement) typed = typed.shadowRoot.activeElement
const wanted = search.value_input.trim().toLowerCase()
filter.indices = genes.data.gene.flatMap((gene, i) => gene.toLowerCase().includes(wanted) ? [i] : [])
none.visible = filter.indices.length == 0
typed?.focus()
"""
"""Leaves those genes in the list whose name holds what was typed; the list would take the focus from who types."""
ENTER = "if (filter.indices.length == 1) genes.selected.indices = [filter.indices[0]]"
"""Chooses the only gene that was found."""
CHOSEN = "if (choice.active == 0) show.execute(choice); else choice.active = 0"
"""Lays a gene that was chosen over the slide, whatever lies there."""
VALUE = f"""
const row = genes.selected.indices[0] ?? 0
return (genes.data.low[row] + value / {STEPS} * (genes.data.high[row] - genes.data.low[row])).toPrecision(3)
"""
GENE = """
const row = genes.selected.indices[0] ?? 0, r = genes.data.r[row]
return genes.data.gene[row] + (isNaN(r) ? "" : ` (r = ${r.toFixed(2)})`)
"""
FINER = "parts.visible = plot.x_range.end - plot.x_range.start < per_px * plot.inner_width * devicePixelRatio"
"""Shows the parts of the picture where px of the whole are larger than those of the screen."""
PICTURE = f"return patches.data.image[value] ?? '{NONE}'"
SLIDE = "return patches.data.slide[value] ?? 'not kept'"


@dataclass
class Parts:
    """Sources that the view is drawn from, and what is chosen of them."""

    columns: dict[str, Any]
    """Of the places."""
    map_columns: dict[str, Any]
    """In steps, by name."""
    table: dict[str, Any]
    """Of the genes."""
    overlay_values: list[dict[str, Any]]
    """Maps that can be laid over the slide instead of a gene."""
    patch_columns: dict[str, Any]
    """Of the reference."""
    places: ColumnDataSource = field(init=False)
    maps: ColumnDataSource = field(init=False)
    genes: ColumnDataSource = field(init=False)
    patches: ColumnDataSource = field(init=False)
    overlays: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        """Make the sources; the first gene is chosen."""
        from bokeh.models import ColumnDataSource

        says = {
            CONFIDENCE: "Confidence: a rank among spots that the reference held out; low is a larger expected error.",
            ALIKE: "How usual the tissue around a place is in the reference; below 0.05 it is taken for foreign.",
        }
        self.overlays, shares = [], {}
        for each in self.overlay_values:
            shares[each["label"]] = np.rint(np.clip(each["values"], 0, 1) * STEPS).astype(np.uint8)
            ends = {"low": 0.0, "high": 1.0, "start": 0.0, "end": float(STEPS)}
            said = {"says": says[each["label"]], "title": each["label"]}
            self.overlays.append({"map": each["label"], **said, **ends})
        first = self.map_columns[self.table["map"][0]]
        self.places = ColumnDataSource({**self.columns, "value": first, "of_gene": first})
        self.maps = ColumnDataSource({**self.map_columns, **shares})
        self.genes = ColumnDataSource(self.table, name="genes")
        self.genes.selected.indices = [0]
        self.patches = ColumnDataSource(self.patch_columns)


def plot(
    parts: Parts,
    picture: Picture | None,
    outline: tuple[float, str | None],
    *,
    in_um: bool,
    n_behind: int,
) -> Figure:
    """Return the slide with its places in the colours of the first gene."""
    from bokeh.models import ColorBar, DataRange1d, LinearColorMapper, NumeralTickFormatter, PlainText, ScaleBar
    from bokeh.plotting import figure

    drawn = figure(
        name="slide",
        match_aspect=True,
        x_range=DataRange1d(range_padding=0.06),
        y_range=DataRange1d(range_padding=0.06, flipped=True),
        tools="pan,wheel_zoom,zoom_in,zoom_out,reset",
        active_scroll="wheel_zoom",
        toolbar_location="above",
        sizing_mode="stretch_width",
        height=HEIGHT,
        background_fill_color="white",
    )
    drawn.toolbar.logo = None
    drawn.axis.visible = False
    drawn.grid.visible = False
    if picture is not None:
        _lay(drawn, picture)
    first = {key: float(parts.table[key][0]) for key in ("low", "high", "start", "end")}
    fill = LinearColorMapper(own_palette(), low=first["start"], high=first["end"], name="fill")
    tiles = _outlines(drawn, parts.places, outline, {"field": "value", "transform": fill})
    drawn.x_range.renderers = drawn.y_range.renderers = [tiles]
    if "foreign" in parts.columns:
        _rims(drawn, parts, outline)
    drawn.add_tools(_hover(parts, tiles, n_behind))
    real = [first["low"] + first[end] / STEPS * (first["high"] - first["low"]) for end in ("start", "end")]
    bar = LinearColorMapper(own_palette(), low=real[0], high=real[1], name="bar")
    scale = ColorBar(
        name="scale",
        color_mapper=bar,
        height=10,
        formatter=NumeralTickFormatter(format="0.[00]"),
        title=PlainText(text=parts.table["title"][0]),
        title_text_font_style="normal",
    )
    drawn.add_layout(scale, "below")
    if in_um:
        drawn.add_layout(
            ScaleBar(
                range=drawn.x_range, unit="µm", bar_length=0.12, location="bottom_right", background_fill_alpha=0.7
            )
        )
    return drawn


def side(parts: Parts, drawn: Figure) -> LayoutDOM:
    """Return what is beside the slide, or on a narrow screen below it: what is shown, and the list of genes."""
    from bokeh.layouts import column
    from bokeh.models import CustomJS, Paragraph, RadioButtonGroup, Slider, TextInput, Toggle

    said = Paragraph(
        name="said",
        text=parts.table["says"][0],
        disable_math=True,
        sizing_mode="stretch_width",
        styles={"font-size": "16px"},
    )
    choice = RadioButtonGroup(labels=["gene", *(each["map"] for each in parts.overlays)], active=0)
    opacity = Slider(title="opacity", start=0, end=1, step=0.05, value=OPACITY, sizing_mode="stretch_width")
    opacity.js_link("value", drawn.select_one({"name": "tiles"}).glyph, "fill_alpha")
    search = TextInput(placeholder="search a gene", sizing_mode="stretch_width")
    listing, narrowed = _list_of_genes(parts.genes)
    show = CustomJS(
        args={
            **{"genes": parts.genes, "maps": parts.maps, "places": parts.places, "overlays": parts.overlays},
            **{"choice": choice, "said": said, "own": own_palette(), "other": other_palette()},
            **{name: drawn.select_one({"name": name}) for name in ("fill", "bar", "scale")},
        },
        code=SHOW,
    )
    parts.genes.selected.js_on_change("indices", CustomJS(args={"choice": choice, "show": show}, code=CHOSEN))
    choice.js_on_change("active", show)
    none = Paragraph(name="none", text="No gene of this name was predicted, or it is not in this list.", visible=False)
    found = {"filter": narrowed, "genes": parts.genes}
    search.js_on_change("value_input", CustomJS(args={"search": search, "none": none, **found}, code=SEARCH))
    search.js_on_change("value", CustomJS(args=found, code=ENTER))
    shown: list[Any] = [said, *([choice] if parts.overlays else []), opacity]
    if "foreign" in parts.columns:
        share = float(np.mean(parts.columns["foreign"]))
        rims = Toggle(label=f"red rims: tissue unlike the reference ({share:.0%})", active=True)
        rims.js_link("active", drawn.select_one({"name": "rims"}), "visible")
        shown.append(rims)
    return column(
        *shown, search, none, listing, sizing_mode="stretch_width", styles={"flex": "1 1 320px", "min-width": "0"}
    )


def own_palette() -> list[str]:
    """Return the colours of genes, those of :func:`bleep_sc.pl.spatial`."""
    return _palette(EXPRESSION)


def other_palette() -> list[str]:
    """Return the colours of overlays, those of :func:`bleep_sc.pl.confidence`."""
    return _palette(TRUST)


def _palette(name: str) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in colormaps[name](range(256))]


def _lay(drawn: Figure, picture: Picture) -> None:
    """Lay the picture of a slide below all else, and its parts over it where a screen shows more than the whole has."""
    from bokeh.events import RangesUpdate
    from bokeh.models import ColumnDataSource, CustomJS

    place: dict[str, Any] = {"url": "url", "x": "x", "y": "y", "w": "w", "h": "h", "anchor": "top_left"}
    drawn.image_url(**place, source=ColumnDataSource(picture.whole), level="image")
    if picture.parts:
        parts = drawn.image_url(**place, source=ColumnDataSource(picture.parts), level="image", name="parts")
        parts.visible = False
        finer = CustomJS(args={"plot": drawn, "parts": parts, "per_px": picture.per_px}, code=FINER)
        drawn.js_on_event(RangesUpdate, finer)  # of the reader: before that the plot has no width


def _outlines(drawn: Figure, source: ColumnDataSource, outline: tuple[float, str | None], color: Any) -> Any:
    """Draw cells by their polygons and tiles in squares as squares, else circles."""
    side, layout = outline
    style = {"source": source, "fill_color": color, "line_color": None, "fill_alpha": OPACITY, "name": "tiles"}
    if "xs" in source.data:
        return drawn.patches("xs", "ys", **style)
    if layout == "square":
        return drawn.rect("x", "y", width=side, height=side, **style)
    return drawn.circle("x", "y", radius=side / 2, **style)


def _rims(drawn: Figure, parts: Parts, outline: tuple[float, str | None]) -> None:
    """Draw red rims around tissue that the reference does not know."""
    from bokeh.models import BooleanFilter, CDSView

    side, layout = outline
    view = CDSView(filter=BooleanFilter([bool(each) for each in parts.columns["foreign"]]))
    style = {"source": parts.places, "view": view, "fill_color": None, "line_color": WARNING, "name": "rims"}
    if "xs" in parts.columns:
        drawn.patches("xs", "ys", **style)
    elif layout == "square":
        drawn.rect("x", "y", width=side, height=side, **style)
    else:
        drawn.circle("x", "y", radius=side / 2, **style)


def _hover(parts: Parts, tiles: Any, n_behind: int) -> Any:
    """Return what a place under the pointer says: names are columns, which Bokeh escapes."""
    from bokeh.models import CustomJSHover, HoverTool

    said = {"@place{custom}": "@of_gene{custom}"}
    said |= {name: f"@{{{name}}}{{0.00}}" for name in (CONFIDENCE, ALIKE) if name in parts.columns}
    said |= {"region": "@region"} if "region" in parts.columns else {}
    lines = "".join(f"<div>{name}: <b>{value}</b></div>" for name, value in said.items())
    behind = "".join(
        f'<figure style="margin:2px;width:64px"><img src="@behind{i}{{custom}}" width="64" height="64">'
        f"<figcaption>@share{i} %<br>@slide{i}{{custom}}</figcaption></figure>"
        for i in range(n_behind)
    )
    if behind:
        lines += f'<div>read off from:</div><div style="display:flex">{behind}</div>'
        lines += "<div>and @others more places, @rest %</div>"
    own = {"genes": parts.genes, "patches": parts.patches}
    formatters = {"@place": CustomJSHover(args={"genes": parts.genes}, code=GENE)}
    formatters["@of_gene"] = CustomJSHover(args={"genes": parts.genes}, code=VALUE)
    for i in range(n_behind):
        formatters[f"@behind{i}"] = CustomJSHover(args=own, code=PICTURE)
        formatters[f"@slide{i}"] = CustomJSHover(args=own, code=SLIDE)
    return HoverTool(
        renderers=[tiles], tooltips=f'<div style="font-size:13px;max-width:230px">{lines}</div>', formatters=formatters
    )


def _list_of_genes(genes: ColumnDataSource) -> tuple[LayoutDOM, Any]:
    """Return the list of the genes, and what leaves some of them out."""
    from bokeh.models import CDSView, DataTable, HTMLTemplateFormatter, IndexFilter, StringFormatter, TableColumn

    def ink() -> Any:
        return {"field": "ink"}

    number = HTMLTemplateFormatter(
        template='<span style="color:<%= ink %>"><%= isNaN(value) ? "–" : value.toFixed(2) %></span>'
    )
    columns = [
        TableColumn(field="gene", title="gene", formatter=StringFormatter(text_color=ink()), width=110),
        TableColumn(field="r", title="r", formatter=number, width=50),
        TableColumn(field="means", title="on held-out slides", formatter=StringFormatter(text_color=ink()), width=190),
    ]
    narrowed = IndexFilter(list(range(len(genes.data["gene"]))))
    table = DataTable(
        source=genes,
        view=CDSView(filter=narrowed),
        columns=columns,
        index_position=None,
        reorderable=False,
        sizing_mode="stretch_width",
        height=LIST_HEIGHT,
    )
    return table, narrowed
