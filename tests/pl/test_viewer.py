"""The view of a slide: what is in it, whoever shows it."""

import numpy as np
import pytest
import shapely
from bokeh.models import Circle, DataTable, Div, GlyphRenderer, ImageURL, Patches, Rect
from bokeh.plotting import figure
from matplotlib import colormaps
from matplotlib.colors import to_hex

import bleep_sc as bs
from bleep_sc._adata.cells import packed
from bleep_sc.pl import _viewer_outlines
from bleep_sc.pl._viewer_columns import STEPS, behind, in_steps
from bleep_sc.slides import Cells


@pytest.fixture
def predicted(fitted, query):
    """The third slice, predicted from the others."""
    bs.tl.impute(query, ref=fitted)
    return query


def of(view, kind):
    return list(view.select({"type": kind}))


def listed(view):
    (table,) = of(view, DataTable)
    return table.source.data


def places(view):
    (tiles,) = of(view, figure)[0].select({"name": "tiles"})
    return tiles.data_source.data


def test_a_step_is_the_255th_part_of_a_gene():
    values = np.random.default_rng(0).normal(size=500).astype(np.float32)
    steps, ends = in_steps(values)
    assert steps.dtype == np.uint8
    back = ends["low"] + steps / STEPS * (ends["high"] - ends["low"])
    np.testing.assert_allclose(back, values, atol=np.ptp(values) / STEPS * 0.51)
    share = (values >= ends["low"] + ends["start"] / STEPS * np.ptp(values)).mean()
    assert share == pytest.approx(0.99, abs=0.005)


def test_a_gene_that_does_not_vary_has_one_step():
    steps, ends = in_steps(np.full(5, 2.5, dtype=np.float32))
    assert set(steps) == {0}
    assert ends["low"] == ends["high"] == 2.5


def test_genes_are_listed_as_they_are_to_be_read(predicted):
    predicted.var["bleep_predictability"] = np.linspace(-0.5, 0.9, predicted.n_vars)
    table = listed(bs.pl.viewer(predicted))
    assert table["gene"] == predicted.var_names[::-1][:200].tolist()
    grey = np.array(table["ink"]) == "#9a9a9a"
    np.testing.assert_array_equal(grey, table["r"] < 0.2)
    assert table["means"][0] == "follows what was measured"


def test_what_is_drawn_is_the_layer(predicted):
    view = bs.pl.viewer(predicted, genes=["HAL", "CYP3A4"])
    table = listed(view)
    assert sorted(table["gene"]) == ["CYP3A4", "HAL"]
    first, values = table["gene"][0], places(view)["value"]
    shown = table["low"][0] + values / STEPS * (table["high"][0] - table["low"][0])
    true = predicted[:, first].layers["bleep"].ravel()
    np.testing.assert_allclose(shown, true, atol=np.ptp(true) / STEPS)
    np.testing.assert_allclose(places(view)["x"], predicted.obsm["spatial"][:, 0], rtol=1e-5)  # 1 µm per px


def test_a_gene_has_the_colours_of_expression_and_says_its_unit(predicted):
    view = bs.pl.viewer(predicted, genes=["HAL", "CYP3A4"])
    (fill,), (scale,) = view.select({"name": "fill"}), view.select({"name": "scale"})
    ends = [to_hex(colormaps["YlOrRd"](end)) for end in (0.0, 1.0)]
    assert [fill.palette[0], fill.palette[-1]] == ends == [scale.color_mapper.palette[i] for i in (0, -1)]
    table = listed(view)
    assert table["title"] == [f"{gene}, ln(1 + counts per 10,000)" for gene in table["gene"]]
    assert scale.title.text == table["title"][0]


def test_places_show_the_reference_spots_of_the_largest_weights(predicted, fitted):
    columns, patches = behind(predicted, fitted, "bleep", "bleep", "patches")
    weights = predicted.obsm["bleep_weights"].toarray()
    slides = fitted.obs["library_id"].to_numpy()
    largest = -np.sort(-weights, axis=1)[:, :3]
    np.testing.assert_array_equal(np.column_stack([columns[f"share{i}"] for i in range(3)]), np.rint(100 * largest))
    profiles, own = fitted.obsm["X_bleep_expression"], predicted.obsm["X_bleep_image"]
    for place in (0, 57, 200):
        known = np.flatnonzero(weights[place])
        alike = [profiles[spot] @ own[place] / np.linalg.norm(profiles[spot]) for spot in known]
        best = sorted(zip(-weights[place, known], -np.array(alike), known, strict=True))[0][2]
        assert patches["slide"][columns["behind0"][place]] == slides[best]
    assert len(patches["image"]) == len({*columns["behind0"], *columns["behind1"], *columns["behind2"]})


def test_a_slide_needs_neither_image_nor_reference_nor_confidence(predicted):
    del predicted.uns["spatial"], predicted.obs["bleep_confidence"], predicted.obs["bleep_typicality"]
    view = bs.pl.viewer(predicted)
    assert not of(view, ImageURL)
    assert "confidence" not in places(view)


def test_tiles_in_squares_are_drawn_as_squares(predicted):
    assert not of(bs.pl.viewer(predicted), Rect)
    predicted.uns["tiles"] = {"slice3": {"layout": "square"}}
    view = bs.pl.viewer(predicted)
    assert of(view, Rect)
    assert not of(view, Circle)


def test_an_image_lies_where_the_coordinates_are(predicted):
    pixels = predicted.uns["spatial"]["slice3"]["images"]["hires"]
    for image in (None, pixels):
        (renderer,) = [each for each in of(bs.pl.viewer(predicted, image=image), GlyphRenderer) if not each.name]
        assert isinstance(renderer.glyph, ImageURL)
        place = {name: of_one for name, (of_one,) in renderer.data_source.data.items() if name != "url"}
        assert place == pytest.approx({"x": 0, "y": 0, "w": pixels.shape[1], "h": pixels.shape[0]})


def test_under_the_slide_stands_how_fine_its_picture_is(predicted):
    pixels = predicted.uns["spatial"]["slice3"]["images"]["hires"]

    def said(**given):
        (below,) = bs.pl.viewer(predicted, **given).select({"name": "fineness"})
        return below.text

    assert said(image=pixels) == "The picture has 1 µm per px, as the scan."
    assert said() == "The picture has 1 µm per px."  # the scan is elsewhere


def test_cells_are_drawn_as_their_polygons(predicted, monkeypatch):
    centers = predicted.obsm["spatial"]
    polygons = shapely.buffer(shapely.points(centers), np.linspace(5, 15, len(centers)))
    predicted.obs["cell_id"] = np.arange(len(centers)) + 7
    predicted.uns["cells"] = {"slice3": packed(Cells(predicted.obs["cell_id"].to_numpy(), polygons, np.array([])))}
    predicted.obs["bleep_typicality"] = 0.01
    view = bs.pl.viewer(predicted)
    for name in ("tiles", "rims"):
        assert isinstance(view.select_one({"name": name}).glyph, Patches)
    assert not of(view, Circle)
    drawn = places(view)
    for i in (0, 17, 200):
        shown = shapely.Polygon(np.column_stack([drawn["xs"][i], drawn["ys"][i]]))
        assert shown.symmetric_difference(polygons[i]).area < 0.1 * polygons[i].area
    monkeypatch.setattr(_viewer_outlines, "MOST_VERTICES", 1000)
    assert not of(bs.pl.viewer(predicted), Patches)


def test_names_are_never_markup(predicted):
    assert not of(bs.pl.viewer(predicted), Div)


def test_what_cannot_be_shown_is_refused(predicted, fitted):
    with pytest.raises(KeyError, match=r"genes='NONE' are not in adata.var_names"):
        bs.pl.viewer(predicted, genes=["HAL", "NONE"])
    with pytest.raises(ValueError, match=r"genes=\[\] is empty"):
        bs.pl.viewer(predicted, genes=[])
    with pytest.raises(ValueError, match="is not the reference that"):
        bs.pl.viewer(predicted, ref=fitted[::2].copy())
    bs.tl.impute(predicted, ref=fitted, genes=["HAL"])
    with pytest.raises(ValueError, match=r"holds no prediction of 'CYP3A4'\. Impute them"):
        bs.pl.viewer(predicted, genes=["CYP3A4"])


def test_a_place_says_how_much_it_reads_off_from_others(fitted, query):
    bs.tl.impute(query, ref=fitted)
    shown, _ = behind(query, fitted, "bleep", "bleep", "patches")
    weights = query.obsm["bleep_weights"].toarray()
    three = (weights > 0).sum(axis=1) - 3
    np.testing.assert_array_equal(shown["others"], np.maximum(three, 0))
    rest = 100 * (1 - np.sort(weights, axis=1)[:, -3:].sum(axis=1))
    np.testing.assert_allclose(shown["rest"], rest, atol=2)
