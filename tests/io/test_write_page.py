"""The page of a slide: what it says."""

import json
import re

import numpy as np
import pytest
import shapely

import bleep_sc as bs
from bleep_sc._adata.cells import median_diameter, packed
from bleep_sc._output import html
from bleep_sc.slides import Cells

ODD = "$bad{$ <script>|=1+1"


@pytest.fixture
def predicted(fitted, query):
    """The third slice, predicted from the others."""
    bs.tl.impute(query, ref=fitted)
    return query


def written(tmp_path, adata, **kwargs):
    """What a page says, without its scripts and pictures."""
    bs.io.write_page(adata, tmp_path / "page.html", **kwargs)
    text = (tmp_path / "page.html").read_text()
    return re.sub(r"data:image/\w+;base64,[^\"]+", "", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_the_page_of_a_slide_that_the_reference_knows(predicted, fitted, tmp_path):
    predicted.obs["bleep_typicality"] = 0.5
    text = written(tmp_path, predicted, ref=fitted, notes={"patient": "P1"})
    assert 'class="alarm"' not in text
    assert "0% of the tiles; of slides like the reference's own 5%" in text.replace("&#x27;", "'")
    r = predicted.var["bleep_predictability"]
    assert f"{(r >= 0.2).sum()} of 250 genes are to be read" in text
    best = r.idxmax()
    assert f"<td>{best}</td>\n      <td>{r.max():.2f}</td>\n      <td>{r.max() ** 2:.0%}</td>" in text
    assert "<th>patient</th><td>P1</td>" in text
    for said in ("For research only", "NeurIPS 2023", "slice1, slice2", "share of all values", f"{fitted.n_obs} spots"):
        assert said in text
    (share,) = re.findall(r"<td>slice1</td>\s*<td>([\d.]+)%</td>", text)
    of_slice1 = predicted.obsm["bleep_weights"][:, (fitted.obs["library_id"] == "slice1").to_numpy()].sum(axis=1).mean()
    assert float(share) == pytest.approx(100 * of_slice1, abs=0.06)


def test_regions_have_the_means_of_their_tiles(predicted, tmp_path):
    predicted.obs["region"] = np.where(predicted.obsm["spatial"][:, 0] > 900, ODD, "stroma")
    text = written(tmp_path, predicted)
    best = predicted.var["bleep_predictability"].idxmax()
    means = predicted[:, best].to_df("bleep").groupby(predicted.obs["region"].to_numpy()).mean()[best]
    cells = re.search(rf"Means of the regions.*?<td>{best}</td>(.*?)</tr>", text, flags=re.DOTALL)[1]
    found = [float(each) for each in re.findall(r"<td>([\d.]+)</td>", cells)][1:]
    np.testing.assert_allclose(found, [means[ODD], means["stroma"]], atol=0.006)
    assert "&lt;script&gt;" in text
    assert "<script" not in text


def test_classes_of_cells_have_means_and_cells_on_glass_are_told(predicted, tmp_path):
    name, n = "slice3", predicted.n_obs
    record = {"n_grid": n + 5, "n_outside_region": 0, "cells_file": "mine.geojson"}
    predicted.uns["tiles"] = {name: record | {"layout": "hexagonal", "spacing_um": 100, "n_blank": 0, "n_blurred": 0}}
    squares = shapely.box(*(predicted.obsm["spatial"] - 3).T, *(predicted.obsm["spatial"] + 3).T)
    cells = Cells(np.array(predicted.obs_names, dtype=object), squares, np.full(n, ""))
    predicted.uns["cells"] = {name: packed(cells)}
    predicted.obs["cell_id"] = predicted.obs_names
    predicted.obs["cell_class"] = np.where(np.arange(n) < 7, "tumour", "other")
    predicted.obs["tissue"] = np.where(np.arange(n) < 3, 0.0, 1.0)
    text = written(tmp_path, predicted)
    assert "Means of the classes of cells" in text
    assert f"<th>cells</th><td>{n} of {n + 5} in mine.geojson</td>" in text
    assert f"other {n - 7}, tumour 7" in text
    assert "<th>on no tissue</th><td>3 (look" in text
    assert "hexagonal" not in text
    width = median_diameter(predicted, name, np.arange(n))
    assert width == pytest.approx(2 * 6 / np.sqrt(np.pi), rel=1e-6)


def test_where_nothing_is_promised_it_is_said_why(predicted, fitted, tmp_path):
    predicted.var["bleep_predictability"] = np.nan
    predicted.uns["bleep_imputed"]["predictability_of"] = "the reference is of one donor"
    predicted.obs["bleep_typicality"] = 0.0
    text = written(tmp_path, predicted, ref=fitted)
    assert "Nothing is promised of any gene here: the reference is of one donor" in text
    assert text.index('class="alarm">100% of this slide looks unlike the reference') < text.index("For research only")
    assert "a rank, and not an error that can be expected here" in text
    short = json.loads(html.facts_of(tmp_path / "page.html"))
    assert short["readable"] == 0
    assert short["best"] is None
    assert short["warnings"][:2] == [
        "100% of it is unlike the reference: not to be used",
        "nothing is promised: the reference is of one donor",
    ]


def test_unnamed_donors_and_other_donors_are_said_above_all(fitted, query, tmp_path):
    """Else the page of another patient reads like that of the next section."""
    bs.tl.impute(query, ref=fitted)
    text, short = written(tmp_path, query), json.loads(html.facts_of(tmp_path / "page.html"))
    assert text.index('class="caution">Whose slides the reference has was not told') < text.index("For research only")
    for said in ("on another patient it may be far lower", "--donor NAME=DONOR"):
        assert said in text
    assert short["warnings"][0].startswith("donors were not told")
    query.uns["bleep_imputed"]["predictability_of"] = "donors"
    assert 'class="caution"' not in written(tmp_path, query)
    assert not json.loads(html.facts_of(tmp_path / "page.html"))["warnings"]
    query.var["bleep_predictability"] = np.nan
    query.uns["bleep_imputed"]["predictability_of"] = "the reference is of one donor, 'C', and the query is of 'B'"
    text = written(tmp_path, query)
    assert text.index('class="caution">Nothing is promised of any gene of this slide') < text.index("For research")


def test_a_page_says_as_much_as_is_known(predicted, tmp_path):
    """Spots without image, patches, reference and anything that was held out."""
    for slot, key in (("uns", "spatial"), ("uns", "patches"), ("obsm", "patches")):
        del getattr(predicted, slot)[key]
    for slot, key in (("obs", "bleep_confidence"), ("obs", "bleep_typicality"), ("var", "bleep_predictability")):
        del getattr(predicted, slot)[key]
    text = written(tmp_path, predicted)
    assert "The patches of this slide are not at hand" in text
    assert text.count("not known") >= 2
    assert "Where the values come from" not in text


@pytest.mark.filterwarnings("ignore:Slide 'slice1', 'slice2' is in the query and in the reference")
def test_of_several_slides_one_is_named(fitted, tmp_path):
    bs.tl.impute(fitted, ref=fitted.copy())
    with pytest.raises(ValueError, match=r"several slides \('slice1', 'slice2'\)\. Pass library_id="):
        bs.io.write_page(fitted, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
    text = written(tmp_path, fitted, library_id="slice2")
    assert "Predicted expression of slice2" in text
    assert f"<th>spots</th><td>{(fitted.obs['library_id'] == 'slice2').sum()}</td>" in text


def test_what_is_not_predicted_has_no_page(query, tmp_path):
    with pytest.raises(KeyError, match=r"layers\['bleep'\] not found"):
        bs.io.write_page(query, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
