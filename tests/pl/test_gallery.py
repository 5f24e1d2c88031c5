"""The gallery shows every plot."""

import re
from pathlib import Path

import pytest
from gallery import DPI, blocks
from PIL import Image

import bleep_sc as bs

PAGE = Path(__file__).parents[2] / "docs" / "gallery.md"
PICTURES = [(code, path) for code, path in blocks(PAGE) if path is not None]

IN_A_BROWSER = {"viewer"}
"""What is no figure, and shown in docs/howto/viewers.md."""


def test_every_plot_is_in_the_gallery():
    shown = [name for code, _ in PICTURES for name in re.findall(r"bs\.pl\.(\w+)\(", code)]
    assert set(shown) == set(bs.pl.__all__) - IN_A_BROWSER


@pytest.mark.parametrize("path", [path for _, path in PICTURES], ids=lambda path: path.stem)
def test_a_picture_is_shown_as_wide_as_it_was_drawn(path):
    (width,) = re.findall(rf"{re.escape(path.name)}\n(?::alt:.*\n):width: (\d+)mm", PAGE.read_text())
    with Image.open(path) as picture:
        drawn = picture.width / DPI * 25.4
    assert drawn == pytest.approx(int(width), abs=1)
    assert drawn <= 180
