"""A page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import re
from html import escape, unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { font-weight: 600; line-height: 1.2; } h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.facts th, .facts td { text-align: left; white-space: normal; border-bottom: 1px solid #ddd; font-weight: 400; }
.facts th { color: #555; }
.alarm { border-left: .4rem solid #b00020; background: #fdecea; padding: .7rem 1rem; font-weight: 600; }
.caution { border-left: .4rem solid #d98200; background: #fff4dc; padding: .7rem 1rem; font-weight: 600; }
td small { color: #666; }
.gallery { display: flex; flex-wrap: wrap; gap: .5rem; }
.gallery figure { margin: 0; width: 6.5rem; } .gallery img { width: 100%; display: block; }
.gallery + .below { color: #555; font-size: .9rem; margin: .3rem 0 1.2rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
@media (max-width: 32rem) { td { white-space: normal; } body { margin: 1rem auto; } }
"""
OURS = '<meta name="generator" content="bleep_sc">'
"""Of every page."""
FACTS, FACTS_BYTES = "bleep_sc", 2**18
"""What facts for programs are called, and how many bytes of a page hold them."""


def page(title: str, notes: str, sections: Iterable[tuple[str, str]], head: str = "", facts: str = "") -> str:
    """Return a page with headings and what stands below each.

    ``head`` is HTML, and ``facts`` a text for programs, which :func:`facts_of` reads.
    """
    body = "".join(f"<h2>{escape(heading)}</h2>\n{content}\n" for heading, content in sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">{OURS}'
        f'<meta name="{FACTS}" content="{escape(facts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{head}</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{paragraph(notes) if notes else ''}\n{body}</body>\n</html>\n"
    )


def is_ours(file: Path) -> bool:
    """Tell whether a page is one of these."""
    with file.open("rb") as opened:
        return OURS.encode() in opened.read(len(OURS) + 200)


def facts_of(file: Path) -> str:
    """Return what a page holds for programs; nothing of other files."""
    with file.open("rb") as opened:
        begin = opened.read(FACTS_BYTES).decode(errors="ignore")
    found = re.search(rf'{re.escape(OURS)}<meta name="{FACTS}" content="([^"]*)">', begin)
    return unescape(found[1]) if found else ""


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def alarm(text: str) -> str:
    """Return a paragraph that is not to be overlooked."""
    return f'<p class="alarm">{escape(text)}</p>'


def caution(text: str) -> str:
    """Return a paragraph that is to be read before the others."""
    return f'<p class="caution">{escape(text)}</p>'


def facts(of: Mapping[str, object]) -> str:
    """Return names and what they are."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in of.items())
    return f'<div class="wide"><table class="facts">{rows}</table></div>'


def table(frame: pd.DataFrame) -> str:
    """Return a table with intervals below their means; it scrolls where the page is too narrow for it."""
    import pandas as pd

    with pd.option_context("display.max_colwidth", None):  # else long names are cut
        rows = frame.to_html(index=False, border=0, na_rep="")
    rows = re.sub(r" (\[[^]<]+\])</td>", r"<br><small>\1</small></td>", rows)
    return f'<div class="wide">{rows}</div>'


def png(drawn: Figure) -> bytes:
    """Return a figure as a picture."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def figure(picture: bytes, caption: str) -> str:
    """Return a figure with its picture (PNG) inside."""
    encoded = base64.b64encode(picture).decode()
    return (
        f'<figure><img src="data:image/png;base64,{encoded}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def jpeg(pixels: NDArray[np.uint8], longest: int, quality: int = 80) -> str:
    """Return an RGB image as the address of a JPEG that holds it, scaled down to a longest side in px."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((longest, longest), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def gallery(pictures: Iterable[tuple[str, str]], caption: str) -> str:
    """Return addresses of pictures side by side, with what stands below each, and below all."""
    shown = "".join(
        f'<figure><img src="{address}" alt="{escape(below)}"><figcaption>{escape(below)}</figcaption></figure>'
        for address, below in pictures
    )
    return f'<div class="gallery">{shown}</div><p class="below">{escape(caption)}</p>'
