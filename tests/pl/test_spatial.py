import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_hex
from matplotlib_scalebar.scalebar import ScaleBar

import bleep_sc as bs
from bleep_sc.pl._legend import shortened


@pytest.fixture
def predicted(fitted, query):
    bs.tl.impute(query, ref=fitted)
    return query


def spots(ax):
    (collection,) = [child for child in ax.collections if isinstance(child, EllipseCollection)]
    return collection


def test_every_spot_is_drawn_at_its_place_in_its_colour(predicted):
    ax = bs.pl.spatial(predicted, "CYP3A4", layer="bleep")
    drawn = spots(ax)
    np.testing.assert_array_equal(drawn.get_offsets(), predicted.obsm["spatial"])
    np.testing.assert_array_equal(drawn.get_array(), predicted[:, "CYP3A4"].layers["bleep"].ravel())
    np.testing.assert_allclose(drawn.get_widths(), 55)
    x, y = ax.get_xlim(), ax.get_ylim()
    assert x[0] < predicted.obsm["spatial"][:, 0].min() < predicted.obsm["spatial"][:, 0].max() < x[1]
    assert y[1] < predicted.obsm["spatial"][:, 1].min()  # y points down, as in the image
    assert ax.get_title() == "CYP3A4, predicted (bleep)"


def test_the_image_lies_under_the_spots_in_full_resolution_pixels(predicted):
    pixels = predicted.uns["spatial"]["slice3"]["images"]["hires"]
    predicted.uns["spatial"]["slice3"]["images"]["hires"] = pixels[::4, ::4]
    predicted.uns["spatial"]["slice3"]["scalefactors"]["tissue_hires_scalef"] = 0.25
    ax = bs.pl.spatial(predicted, "zonation")
    (image,) = ax.get_images()
    assert image.get_extent() == [0, pixels.shape[1], pixels.shape[0], 0]
    (bar,) = [artist for artist in ax.artists if isinstance(artist, ScaleBar)]
    assert bar.dx == pytest.approx(1.0)


@pytest.mark.parametrize("share_scale", [False, True])
def test_layers_stand_side_by_side(predicted, share_scale):
    axes = bs.pl.spatial(predicted, ["CYP3A4", "HAL"], layer=[None, "bleep"], share_scale=share_scale)
    assert axes.shape == (2, 2)
    assert [ax.get_title() for ax in axes[0]] == ["CYP3A4, measured", "CYP3A4, predicted (bleep)"]
    measured, imputed = (spots(ax).get_clim() for ax in axes[0])
    assert (measured == imputed) is share_scale
    values = [predicted[:, "CYP3A4"].X.toarray(), predicted[:, "CYP3A4"].layers["bleep"]]
    lows, highs = zip(*(np.quantile(each, [0.01, 0.99]) for each in values), strict=True)
    expected = (min(lows), max(highs)) if share_scale else (lows[0], highs[0])
    assert measured == pytest.approx(expected)


def test_beside_the_colours_stands_what_the_numbers_are(predicted):
    predicted.layers["two"] = predicted.X / np.log(2)
    predicted.layers["scaled"] = predicted.X.toarray() - 1
    axes = bs.pl.spatial(predicted, "CYP3A4", layer=[None, "bleep", "counts", "two", "scaled"])
    labels = [ax.child_axes[0].get_ylabel() for ax in axes[0]]
    natural = "ln(1 + counts per 10,000)"
    assert labels == [natural, natural, "counts", "log2(1 + counts per 10,000)", "expression"]
    assert bs.pl.spatial(predicted, "zonation").child_axes[0].get_ylabel() == ""


def test_long_titles_have_two_lines_in_all_panels(predicted):
    predicted.var_names = [f"ENSMUSG00000064337.{i}" if i else "HAL" for i in range(predicted.n_vars)]
    titles = [ax.get_title() for ax in bs.pl.spatial(predicted, ["HAL", predicted.var_names[1]], figsize=(2.5, 2))[0]]
    assert titles == ["HAL,\nmeasured", "ENSMUSG00000064337.1,\nmeasured"]


def test_limits_can_be_given_and_unknown_keywords_are_named(predicted):
    ax = bs.pl.spatial(predicted, "CYP3A4", vmin=1.5, vmax=4)
    assert spots(ax).get_clim() == (1.5, 4)
    with pytest.raises(TypeError, match=r"does not take 'wspace'.*go to the spots"):
        bs.pl.spatial(predicted, "CYP3A4", wspace=3)


def test_what_was_predicted_is_never_called_measured(predicted):
    assert bs.pl.spatial(bs.tl.to_anndata(predicted), "CYP3A4").get_title() == "CYP3A4, predicted"


def test_slides_without_images_and_several_slides(toy):
    del toy.uns["spatial"]
    axes = bs.pl.spatial(toy, "zonation", library_id=["slice1", "slice3"])
    assert axes.shape == (1, 2)
    assert not axes[0, 0].get_images()
    assert axes[0, 1].get_title() == "slice3: zonation"
    assert len(spots(axes[0, 1]).get_offsets()) == (toy.obs["library_id"] == "slice3").sum()
    assert 0.3 * 100 < spots(axes[0, 0]).get_widths()[0] < 100


def test_categories_get_a_legend(query):
    query.obs["zone"] = np.where(query.obs["zonation"] > 0.5, "central", "portal")
    ax = bs.pl.spatial(query, "zone")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["central", "portal"]
    assert len(np.unique(spots(ax).get_facecolors(), axis=0)) == 2


def legend(ax):
    drawn = ax.get_legend()
    return {
        text.get_text(): to_hex(patch.get_facecolor())
        for text, patch in zip(drawn.texts, drawn.legend_handles, strict=True)
    }


def test_a_category_has_one_colour_on_all_slides_and_the_order_of_its_column(toy):
    first, second = (toy.obs["library_id"] == name for name in ("slice1", "slice2"))
    toy.obs["zone"] = np.select([first & (toy.obs["zonation"] > 0.5), second], ["A", "C"], "B")
    one, two, three = (legend(ax) for ax in bs.pl.spatial(toy, "zone")[0])
    assert (list(one), list(two), list(three)) == (["A", "B"], ["C"], ["B"])
    assert one["B"] == three["B"] != two["C"] != one["A"]
    toy.obs["zone"] = pd.Categorical(toy.obs["zone"], categories=["C", "B", "A"])
    toy.uns["zone_colors"] = ["#0000ff", "#00ff00", "#ff0000"]  # as scanpy keeps them
    axes = bs.pl.spatial(toy, "zone")[0]
    assert [list(legend(ax).items()) for ax in axes] == [
        [("B", "#00ff00"), ("A", "#ff0000")], [("C", "#0000ff")], [("B", "#00ff00")]
    ]  # fmt: skip
    drawn = {to_hex(color) for color in spots(axes[0]).get_facecolors()}
    assert drawn == {"#00ff00", "#ff0000"}
    toy.uns["zone_colors"] = ["#0000ff", "no colour", "#ff0000"]
    assert legend(bs.pl.spatial(toy, "zone", library_id="slice2")) == {"C": "#0072b2"}
    toy.obs["zone"] = toy.obs["zone"].where(toy.obs["zone"] != "C")
    assert legend(bs.pl.spatial(toy, "zone", library_id="slice2")) == {}
    assert legend(bs.pl.spatial(toy, "zone", library_id="slice2", na_color="#999999")) == {"NA": "#999999"}


def test_axes_and_style_can_be_given(predicted):
    figure, ax = plt.subplots()
    assert bs.pl.spatial(predicted, "CYP3A4", ax=ax, cmap="viridis", alpha=0.5) is ax
    assert spots(ax).get_cmap().name == "viridis"
    figure.canvas.draw()


def test_bad_input(predicted):
    with pytest.raises(KeyError, match="color='INS' is neither a gene nor a column of obs"):
        bs.pl.spatial(predicted, "INS")
    with pytest.raises(KeyError, match=r"layers\['stnet'\] not found .*bleep_sc.tl.impute"):
        bs.pl.spatial(predicted, "CYP3A4", layer="stnet")
    with pytest.raises(KeyError, match="library_id='slice9' is not in adata"):
        bs.pl.spatial(predicted, "CYP3A4", library_id="slice9")
    predicted.layers["bleep"][:, predicted.var_names.get_loc("HAL")] = np.nan
    with pytest.raises(ValueError, match="Gene 'HAL' was not predicted"):
        bs.pl.spatial(predicted, "HAL", layer="bleep")


LONG = "Invasive ductal carcinoma with a lymphocytic infiltrate, grade 3 (of pathologist 2)"


@pytest.mark.parametrize("names", [[LONG, "stroma"], [f"cluster {i}" for i in range(25)], [f"c{i}" for i in range(60)]])
def test_a_legend_is_whole_and_leaves_room_for_the_slide(query, names):
    query.obs["kind"] = np.resize(names, query.n_obs)
    ax = bs.pl.spatial(query, "kind")
    figure = ax.figure
    figure.canvas.draw()
    box, slide = ax.get_legend().get_window_extent(), ax.get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.height
    assert box.x1 <= figure.bbox.width + 1
    assert slide.height > 0.75 * figure.bbox.height
    assert len(ax.get_legend().texts) == len(set(legend(ax).values())) == len(names)  # a colour each
    assert all(len(text) <= 26 for text in legend(ax))
    assert names[1] in legend(ax)


def test_what_a_long_name_is_cut_to():
    assert shortened(LONG) == "Invasive duct…thologist 2)"
    assert shortened("a" * 26) == "a" * 26


def test_a_long_title_stands_within_the_figure(query):
    ax = bs.pl.spatial(
        query, "HAL", title="A title that says of which slide it is, what was drawn, and by whom, and when"
    )
    ax.figure.canvas.draw()
    box = ax.title.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= ax.figure.bbox.width
    assert box.y1 <= ax.figure.bbox.height
    assert " ".join(ax.get_title().split()) == (
        "A title that says of which slide it is, what was drawn, and by whom, and when"
    )


@pytest.mark.parametrize("typed", ["cyp3a4", "CYP3A5", "CYP34"])
def test_a_gene_that_is_mistyped_is_asked_for(predicted, typed):
    with pytest.raises(KeyError, match=r"Did you mean 'CYP3A4'"):
        bs.pl.spatial(predicted, typed)
    with pytest.raises(KeyError, match=r"Did you mean 'CYP3A4'"):
        bs.pl.viewer(predicted, genes=[typed])


def test_a_name_that_is_like_none_is_not_guessed(predicted):
    with pytest.raises(KeyError) as raised:
        bs.pl.spatial(predicted, "QQQQ")
    assert "Did you mean" not in str(raised.value)


@pytest.mark.parametrize(("theirs", "ours"), [("img_key", "img="), ("use_raw", "layer="), ("alpha_img", "img_alpha=")])
def test_words_of_scanpy_and_squidpy_name_those_in_their_place(predicted, theirs, ours):
    with pytest.raises(
        TypeError, match=rf"does not take '{theirs}'\. In place of {theirs}= there is {ours}.*go to the"
    ):
        bs.pl.spatial(predicted, "HAL", **{theirs: "x"})
