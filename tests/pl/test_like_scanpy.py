"""Arguments of pl.spatial do what scanpy and squidpy draw by the same ones."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm, to_hex, to_rgba

import bleep_sc as bs

GENES = ["CYP3A4", "HAL"]
SCALE = 0.5
"""Px of the image per full-resolution px."""


@pytest.fixture
def slide(query):
    """A slide whose image has half its full resolution, with categories in an order of their own."""
    record = query.uns["spatial"]["slice3"]
    query.uns["spatial"] = {"slice3": record}
    record["images"] = {"hires": record["images"]["hires"][::2, ::2]}
    record["scalefactors"] = {"tissue_hires_scalef": SCALE, "spot_diameter_fullres": 55.0}
    zone = np.select([query.obs["zonation"] > 0.7, query.obs["zonation"] > 0.4], ["high", "medium"], "low")
    query.obs["zone"] = pd.Categorical(zone, categories=["low", "medium", "high"])
    return query


def theirs(adata, color, **arguments):
    """The axes that scanpy draws; its warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.ravel(sc.pl.spatial(adata.copy(), color=color, show=False, **arguments)).tolist()


def squidpys(adata, color, **arguments):
    import squidpy as sq

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = sq.pl.spatial_scatter(adata.copy(), color=color, return_ax=True, **arguments)
    return np.ravel(axes).tolist()


def ours(adata, color, **arguments):
    return [ax for ax in np.ravel(bs.pl.spatial(adata, color, **arguments)) if ax.get_visible()]


def spots(ax):
    """Centres (full-resolution px) and colours of the spots; scanpy leaves out their order, so that both are sorted."""
    ax.figure.canvas.draw()
    collection = ax.collections[0]
    if isinstance(collection, PatchCollection):
        centers = np.array([path.get_extents().get_points().mean(axis=0) for path in collection.get_paths()]) / SCALE
    else:
        centers = np.asarray(collection.get_offsets())
    order = np.lexsort(np.round(centers, 3).T)
    faces = np.broadcast_to(collection.get_facecolors(), (len(centers), 4))
    return centers[order], faces[order]


def diameter(ax):
    """Of the first spot, full-resolution px."""
    collection = ax.collections[0]
    if isinstance(collection, PatchCollection):
        return np.ptp(collection.get_paths()[0].get_extents().get_points()[:, 0]) / SCALE
    return float(collection.get_widths()[0])


def assert_same_spots(one, other):
    for left, right in zip(spots(one), spots(other), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def zones(ax):
    legend = ax.get_legend()
    handles = [to_hex(np.ravel(each.get_facecolor())) for each in legend.legend_handles]
    return list(zip([text.get_text() for text in legend.texts], handles, strict=True))


BOUNDS = [
    {"vmin": 2.0, "vmax": 5.0},
    {"vmin": "p5", "vmax": "p90.5"},
    {"vmin": 0, "vmax": [5.0, "p80"]},
    {"vmin": lambda values: float(np.min(values)), "vmax": lambda values: float(np.percentile(values, 70))},
    {"vmin": 0.0, "vmax": 6.0, "vcenter": 1.0},
    {"vmin": 0.0, "vmax": 6.0, "vcenter": ["p50", 2.0]},
    {"norm": Normalize(1, 3)},
    {"vmin": 0, "vmax": 4, "cmap": "magma"},
    {"vmin": 0, "vmax": 4, "color_map": "magma_r"},
]


@pytest.mark.parametrize("arguments", BOUNDS, ids=lambda each: ",".join(map(str, each)))
def test_numbers_have_the_colours_that_scanpy_draws(slide, arguments):
    arguments = {"cmap": "viridis", **arguments} if "color_map" not in arguments else arguments
    for one, other in zip(ours(slide, GENES, **arguments), theirs(slide, GENES, **arguments), strict=True):
        assert_same_spots(one, other)
        for end in ("vmin", "vmax", "vcenter"):
            left, right = (getattr(ax.collections[0].norm, end, None) for ax in (one, other))
            assert left == pytest.approx(right)


def test_the_size_of_spots_is_that_of_scanpy(slide):
    for arguments in ({}, {"size": 1.7}, {"spot_size": 80.0}, {"spot_size": 80.0, "size": 0.5}):
        (one,), (other,) = ours(slide, "HAL", **arguments), theirs(slide, "HAL", **arguments)
        assert diameter(one) == pytest.approx(diameter(other))
    (one,), (other,) = ours(slide, "HAL", size=1.7), squidpys(slide, "HAL", size=1.7)
    assert diameter(one) == pytest.approx(diameter(other))


def test_categories_keep_order_and_colours_as_in_scanpy(slide):
    slide.uns["zone_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    (one,), (other,) = ours(slide, "zone"), theirs(slide, "zone")
    assert_same_spots(one, other)
    assert zones(one) == zones(other) == [("low", "#ff0000"), ("medium", "#00ff00"), ("high", "#0000ff")]
    slide.obs["zone"] = slide.obs["zone"].cat.reorder_categories(["high", "low", "medium"])
    assert zones(ours(slide, "zone")[0]) == zones(theirs(slide, "zone")[0])


@pytest.mark.parametrize(
    "palette",
    ["Set2", "viridis", ["red", "#00ff00", (0, 0, 1)], ["red", "blue"], {"high": "k", "low": "w", "medium": "r"}],
    ids=str,
)
def test_palettes_are_those_of_scanpy(slide, palette):
    arguments = {"palette": palette}
    (one,), (other,) = ours(slide, "zone", **arguments), theirs(slide, "zone", **arguments)
    assert_same_spots(one, other)
    assert zones(one) == zones(other)
    assert "zone_colors" not in slide.uns  # what scanpy writes, and a plot should not


def test_the_rest_of_some_groups_is_drawn_as_by_scanpy(slide):
    slide.uns["zone_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    for arguments in ({}, {"na_color": "black"}, {"na_color": (0, 1, 0, 0.2)}):
        (one,), (other,) = (draw(slide, "zone", groups=["high", "low"], **arguments) for draw in (ours, theirs))
        assert_same_spots(one, other)
        known = [each for each in zones(other) if each[0] != "NA"]
        assert zones(one)[:2] == known[::-1] == [("low", "#ff0000"), ("high", "#0000ff")]  # scanpy sorts what is left
        assert ("NA" in dict(zones(one))) == bool(arguments)  # what cannot be seen has no place in a legend
    del slide.uns["spatial"]
    (one,), (other,) = (
        ours(slide, "zone", groups="low"),
        theirs(slide, "zone", groups="low", spot_size=55, scale_factor=SCALE),
    )
    assert_same_spots(one, other)
    with pytest.raises(KeyError, match=r"groups='middle' is no category .*it has: 'low', 'medium', 'high'"):
        bs.pl.spatial(slide, "zone", groups="middle")


def test_spots_without_a_number_are_drawn_as_by_scanpy(slide):
    slide.obs["depth"] = np.where(np.arange(slide.n_obs) % 3, np.arange(slide.n_obs, dtype=float), np.nan)
    for arguments in ({}, {"na_color": "red"}):
        arguments |= {"vmin": 0, "vmax": 200, "cmap": "viridis"}
        assert_same_spots(*ours(slide, "depth", **arguments), *theirs(slide, "depth", **arguments))


def test_crops_are_left_right_top_bottom_as_in_scanpy(slide):
    crop = (300, 900, 250, 700)
    (one,), (other,) = ours(slide, "HAL", crop_coord=crop), theirs(slide, "HAL", crop_coord=crop)
    for limits in ("get_xlim", "get_ylim"):
        np.testing.assert_allclose(getattr(one, limits)(), np.divide(getattr(other, limits)(), SCALE))


def test_the_image_is_that_of_scanpy(slide):
    for us, them in (
        ({}, {}),
        ({"bw": True}, {"bw": True}),
        ({"img_alpha": 0.4}, {"alpha_img": 0.4}),
        ({"img": 255 - slide.uns["spatial"]["slice3"]["images"]["hires"]}, {"img_key": "hires"}),
    ):
        if "img" in us:
            them = {"img": us["img"], **them}
        (one,), (other,) = ours(slide, "HAL", **us), theirs(slide, "HAL", **them)
        (mine,), (their,) = one.images, other.images
        np.testing.assert_allclose(mine.get_array(), their.get_array())
        assert mine.get_alpha() == (their.get_alpha() if "img_alpha" in us else None)
        assert mine.get_cmap().name == their.get_cmap().name
        np.testing.assert_allclose(np.array(mine.get_extent()) * SCALE, np.array(their.get_extent()) + 0.5)
    assert not ours(slide, "HAL", img=False)[0].images
    assert not squidpys(slide, "HAL", img=False)[0].images
    assert not ours(slide, "HAL", img=None)[0].images


def test_another_image_of_the_same_field_lies_where_the_first_does(slide):
    extent = ours(slide, None)[0].images[0].get_extent()
    smaller = slide.uns["spatial"]["slice3"]["images"]["hires"][::5, ::5, 0]
    (image,) = ours(slide, None, img=smaller)[0].images
    np.testing.assert_allclose(image.get_extent(), extent, rtol=0.01)
    with pytest.raises(ValueError, match=r"img=.* must be True, False or an array"):
        bs.pl.spatial(slide, img=np.zeros(3))


def test_without_a_color_there_is_the_image_alone(slide):
    for arguments in ({}, {"color": None}):
        (one,), (other,) = [bs.pl.spatial(slide, **arguments)], theirs(slide, None)
        assert_same_spots(one, other)
        assert (spots(one)[1][:, 3] == 0).all()
    assert len(one.images) == 1
    assert one.get_title() == "H&E"
    one.figure.canvas.draw()
    assert len(one.figure.axes) == 1  # neither colour bar nor legend
    (one,), (other,) = ours(slide, None, na_color="red"), theirs(slide, None, na_color="red")
    assert_same_spots(one, other)
    assert tuple(spots(one)[1][0]) == to_rgba("red")


def test_the_plain_image_stands_once_before_several_layers(slide):
    slide.layers["twice"] = 2 * slide.X.toarray()
    axes = bs.pl.spatial(slide, [None, *GENES], layer=[None, "twice"])
    assert [ax.get_title() for ax in np.ravel(axes)] == [
        "H&E", "CYP3A4, measured", "CYP3A4, twice", "H&E", "HAL, measured", "HAL, twice"
    ]  # fmt: skip
    assert axes.shape == (2, 3)


def test_genes_make_a_grid_as_in_scanpy(slide):
    genes = slide.var_names[:6].tolist()
    for ncols, shape in ((None, (2, 4)), (3, (2, 3)), (2, (3, 2)), (9, (1, 6))):
        axes = bs.pl.spatial(slide, genes, ncols=ncols)
        place = theirs(slide, genes, **({} if ncols is None else {"ncols": ncols}))[0].get_subplotspec()
        grid = place.get_topmost_subplotspec().get_gridspec()
        assert axes.shape == shape == (grid.nrows, grid.ncols)
        visible = [ax for ax in axes.ravel() if ax.get_visible()]
        assert [ax.get_title() for ax in visible] == [f"{gene}, measured" for gene in genes]
        plt.close("all")


def test_comparisons_stay_together_in_a_grid(toy):
    toy.layers["twice"] = 2 * toy.X.toarray()
    one = {"library_id": "slice1", "layer": [None, "twice"]}
    assert bs.pl.spatial(toy, [*GENES, "ALB"], **one).shape == (3, 2)
    axes = bs.pl.spatial(toy, [*GENES, "ALB"], **one, ncols=4)
    assert [ax.get_title() for ax in axes[0]] == ["CYP3A4, measured", "CYP3A4, twice", "HAL, measured", "HAL, twice"]
    assert [ax.get_visible() for ax in axes[1]] == [True, True, False, False]
    assert bs.pl.spatial(toy, GENES).shape == (2, 3)  # a column for every slide
    assert bs.pl.spatial(toy, GENES, ncols=2).shape == (4, 2)
    assert bs.pl.spatial(toy, "HAL", share_scale=True, ncols=2).shape == (2, 2)


def test_titles_and_frames(slide):
    panels = {"color": ["HAL", "zone"]}
    for title in (["a", "b"], None):
        one, other = (draw(slide, **panels, title=title) for draw in (ours, theirs))
        if title:
            assert [ax.get_title() for ax in one] == [ax.get_title() for ax in other] == title
    assert [ax.get_title() for ax in ours(slide, **panels, title="a")] == ["a", "a"]  # as in squidpy
    assert [ax.get_title() for ax in squidpys(slide, **panels, title="a")] == ["a", "a"]
    for frameon in (None, True, False):
        (one,), (other,) = ours(slide, "HAL", frameon=frameon), theirs(slide, "HAL", frameon=frameon)
        assert one.axison == other.axison == (frameon is not False)


def test_legends_stand_where_scanpy_puts_them(slide):
    for place in ("right margin", "upper left", "none", None):
        (one,), (other,) = ours(slide, "zone", legend_loc=place), theirs(slide, "zone", legend_loc=place)
        assert (one.get_legend() is None) == (other.get_legend() is None)
        if one.get_legend() is not None:
            assert one.get_legend()._loc == other.get_legend()._loc
    (one,), (other,) = ours(slide, "zone", legend_loc="on data"), squidpys(slide, "zone", legend_loc="on data")
    places = [{text.get_text(): text.get_position() for text in ax.texts} for ax in (one, other)]
    assert set(places[0]) == set(places[1]) == {"low", "medium", "high"}
    for name, place in places[0].items():
        np.testing.assert_allclose(place, np.divide(places[1][name], SCALE))
    with pytest.raises(ValueError, match="legend_loc='outside' is not known; use 'right margin'"):
        bs.pl.spatial(slide, "zone", legend_loc="outside")


def test_the_size_of_a_figure_is_that_of_squidpy(slide):
    figures = [draw(slide, "HAL", figsize=(3, 2))[0].figure for draw in (ours, squidpys)]
    assert [each.get_size_inches().tolist() for each in figures] == [[3, 2], [3, 2]]


def test_figures_are_returned_shown_and_saved_as_by_scanpy(slide, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    before = sc.settings.figdir
    sc.settings.figdir = tmp_path
    figure = bs.pl.spatial(slide, "HAL", return_fig=True)
    assert isinstance(figure, plt.Figure)
    assert not shown
    assert bs.pl.spatial(slide, "HAL", show=True) is None
    assert len(shown) == 1
    theirs_, files = {}, {}
    for save in (True, ".png", "_liver.png", "_liver"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.pl.spatial(slide.copy(), color="HAL", show=False, save=save)
        theirs_[save] = {path.name.replace("show", "spatial") for path in tmp_path.iterdir()}  # a slip of scanpy 1.11
        [path.unlink() for path in tmp_path.iterdir()]
        open_before = plt.get_fignums()
        bs.pl.spatial(slide, "HAL", save=save)
        assert plt.get_fignums() == open_before
        files[save] = {path.name for path in tmp_path.iterdir()}
        [path.unlink() for path in tmp_path.iterdir()]
    assert files == theirs_
    for path in (tmp_path / "new" / "a.png", str(tmp_path / "b.svg")):
        bs.pl.spatial(slide, "HAL", save=path)
    assert {path.name for path in tmp_path.rglob("*.*")} == {"a.png", "b.svg"}
    sc.settings.figdir = before


def test_keywords_go_to_the_spots(slide):
    (ax,) = ours(slide, "HAL", alpha=0.5, edgecolor="black", linewidth=0.7)
    assert ax.collections[0].get_alpha() == 0.5
    assert tuple(ax.collections[0].get_edgecolors()[0]) == (0, 0, 0, 0.5)
    assert ax.collections[0].get_linewidths()[0] == 0.7


def test_a_norm_is_not_changed_and_is_its_own_in_every_panel(slide):
    norm = LogNorm()
    slide.obs["depth"], slide.obs["more"] = np.arange(1.0, slide.n_obs + 1), np.arange(1.0, slide.n_obs + 1) * 100
    one, two = (ax.collections[0].norm for ax in ours(slide, ["depth", "more"], norm=norm))
    assert (one.vmin, one.vmax, two.vmin) == (1, slide.n_obs, 100)
    assert norm.vmin is None
    (turned,) = ours(slide, "depth", vmin=0, vmax=300, vcenter=10)
    assert isinstance(turned.collections[0].norm, TwoSlopeNorm)


WRONG = [
    ({"norm": Normalize(0, 1), "vmax": 3}, ValueError, r"norm=.* is given with vmin=, vmax= or vcenter="),
    ({"cmap": "magma", "color_map": "magma"}, ValueError, "are one thing"),
    ({"cmap": "none-such"}, ValueError, "cmap='none-such' must be a map"),
    ({"vmax": "99%"}, ValueError, "vmax='99%' is no number and no percentile"),
    ({"vmax": "p101"}, ValueError, "vmax='p101' is no number and no percentile"),
    ({"vmax": [1, 2, 3]}, ValueError, r"vmax=\[1, 2, 3\] has 3 entries, but there are 2 panels"),
    ({"vmin": 5, "vmax": 1}, ValueError, "vmin=5 and vmax=1: colours would begin at 5 and end at 1"),
    ({"vcenter": 1e9}, ValueError, "vcenter=1000000000.0 must lie between"),
    ({"title": ["a", "b", "c"]}, ValueError, "has 3 entries"),
    ({"crop_coord": (9, 3, 0, 5)}, ValueError, r"crop_coord=\(9, 3, 0, 5\) must be \(left, right, top, bottom\)"),
    ({"crop_coord": (9, 3)}, ValueError, "must be"),
    ({"img_alpha": 3.0}, ValueError, "img_alpha=3.0 must lie between 0 and 1"),
    ({"na_color": "no colour"}, ValueError, "na_color='no colour' is no colour"),
    ({"groups": ["a"]}, KeyError, "groups='a' is no category"),
    ({"size": 0.0}, ValueError, "size=0.0 must be positive"),
    ({"spot_size": -1.0}, ValueError, "spot_size=-1.0 must be positive"),
    ({"ncols": 0}, ValueError, "ncols=0 must be at least 1"),
    ({"figsize": (3, 0)}, ValueError, r"figsize=\(3, 0\) must be"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG, ids=lambda each: str(each)[:40])
def test_what_scanpy_would_not_take_is_named(slide, arguments, error, message):
    with pytest.raises(error, match=message):
        bs.pl.spatial(slide, GENES, **arguments)
    assert not plt.get_fignums()


def test_palettes_that_are_none_are_named(slide):
    with pytest.raises(ValueError, match="palette='none-such' is no map"):
        bs.pl.spatial(slide, "zone", palette="none-such")
    with pytest.raises(ValueError, match="holds what is no colour"):
        bs.pl.spatial(slide, "zone", palette=["red", "no colour", "blue"])
    with pytest.raises(KeyError, match=r"palette=.* has no colour for 'high' of obs\['zone'\]"):
        bs.pl.spatial(slide, "zone", palette={"low": "red", "medium": "blue"})


def test_the_data_are_left_as_they_were(slide):
    slide.obs["text"] = slide.obs["zone"].astype(str)
    before = (slide.obs.dtypes.to_dict(), set(slide.uns))
    bs.pl.spatial(slide, ["text", "zone", "HAL"], palette="Set1", groups="low")
    assert (slide.obs.dtypes.to_dict(), set(slide.uns)) == before
