"""Run the code of docs/gallery.md, and draw its figures.

Every block of Python is run in one namespace, as it stands there; the figure that it leaves open is saved as the
picture that follows it.

    BLEEP_SC_DATA=... python benchmarks/gallery.py
"""

import io
import re
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
from pictures import few_colors

PAGE = Path(__file__).parents[1] / "docs" / "gallery.md"
DPI = 200
PAGE_INCHES = 180 / 25.4
"""Width of a journal's page."""
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\s*:::\{image\} (\S+))?", re.MULTILINE | re.DOTALL)


def blocks(page: Path = PAGE) -> list[tuple[str, Path | None]]:
    """Return every block of code, and the picture that it makes, if it makes one."""
    return [(code, page.parent / path if path else None) for code, path in BLOCK.findall(page.read_text())]


def main() -> None:
    """Run every block, and save what it drew."""
    names: dict[str, object] = {}
    for code, path in blocks():
        exec(code, names)
        if path is None:
            continue
        figure = plt.gcf()
        if figure.get_figwidth() > PAGE_INCHES:
            raise ValueError(f"{path.name} is {figure.get_figwidth() * 25.4:.0f} mm wide: wider than a page.")
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=DPI)
        plt.close("all")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(few_colors(buffer.getvalue()))
        print(f"{path.name}: {figure.get_figwidth() * 25.4:.0f} mm, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
