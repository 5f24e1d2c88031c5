"""A page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from matplotlib.figure import Figure

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
td small { color: #666; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
"""


def page(title: str, notes: str, sections: Iterable[tuple[str, str]]) -> str:
    """Return a page with headings and what stands below each."""
    body = "".join(f"<h2>{escape(heading)}</h2>\n{content}\n" for heading, content in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{paragraph(notes) if notes else ''}\n{body}</body>\n</html>\n"
    )


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def alarm(text: str) -> str:
    """Return a paragraph that is not to be overlooked."""
    return f'<p class="alarm">{escape(text)}</p>'


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
