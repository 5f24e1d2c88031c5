import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from bleep_sc.pl._style import image_style, require_style


def test_own_ends_of_a_picture_give_way_to_what_is_given():
    own = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
    assert image_style("gene_correlation", {"vmin": 0}, **own) == {"vmin": 0, "vmax": 1, "cmap": "RdBu_r"}
    norm = Normalize(-0.5, 0.5)
    style = image_style("gene_correlation", {"norm": norm}, **own)
    assert style == {"norm": norm, "cmap": "RdBu_r"}
    picture = plt.subplots()[1].imshow(np.eye(3), **style)
    assert picture.get_clim() == (-0.5, 0.5)
    with pytest.raises(ValueError, match=r"norm=.* is given to pl\.gene_correlation with vmin= or vmax=\. Pass either"):
        image_style("gene_correlation", {"norm": norm, "vmin": 0}, **own)


@pytest.mark.parametrize(
    ("artist", "draw", "known", "unknown", "meant"),
    [
        (EllipseCollection, None, ("alpha", "edgecolor", "lw"), "vmin", ""),
        (PathCollection, plt.Axes.scatter, ("s", "c", "vmin", "marker"), "markersize", ""),
        (Line2D, None, ("linewidth", "ls", "color"), "linewith", "Did you mean 'linewidth'"),
        (Line2D, plt.Axes.errorbar, ("capsize", "fmt", "markersize"), "capsise", "Did you mean 'capsize'"),
    ],
)
def test_keywords_are_those_of_what_is_drawn(artist, draw, known, unknown, meant):
    require_style("f", dict.fromkeys(known), "the marks", artist, draw)
    said = rf"pl\.f does not take '{unknown}'\..*{meant}.*go to the marks, an? {artist.__name__}"
    with pytest.raises(TypeError, match=said):
        require_style("f", {unknown: 1}, "the marks", artist, draw)
