"""The page of a slide in a browser, driven as a reader would: no network, no error, and what is shown is what is so."""

import shutil

import numpy as np
import pytest
import shapely
import tifffile

import bleep_sc as bs
from bleep_sc._adata.cells import packed

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
ODD = "$$\\bad$$ <img src=x onerror=window.broken=1>|=1+1"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--hide-scrollbars"),
]
IS_IDLE = "window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle"
MODEL = "(name) => Bokeh.documents[0].get_model_by_name(name)"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


def opened(browser, path, width=1400):
    """The page, and what it complained of or asked for beside itself."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    found = []
    page.on("console", lambda said: found.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda asked: found.append(asked.url) if not asked.url.startswith("data:") else None)
    page.goto(f"file://{path}")
    page.wait_for_function(IS_IDLE, timeout=30_000)
    assert found.pop(0) == f"file://{path}"
    return page, found


def shown(page):
    """What is laid over the slide: the values of the places, and what is said."""
    return page.evaluate(f"""() => {{
        const of = {MODEL}, genes = of("genes"), places = of("tiles").data_source.data, row = genes.selected.indices[0]
        const [low, high] = [genes.data.low[row], genes.data.high[row]]
        return {{said: of("said").text, values: Array.from(places.value, (v) => low + v / 255 * (high - low)),
                 opacity: of("tiles").glyph.fill_alpha.value, rims: of("rims").visible, end: of("bar").high}}
    }}""")


def point_at(page, place):
    """Move the pointer to a place, and return the tooltip."""
    x, y = page.evaluate(f"""(i) => {{
        const of = {MODEL}, plot = of("slide"), at = of("tiles").data_source.data
        const share = (range, v) => (v - range.start) / (range.end - range.start)
        const left = share(plot.x_range, at.x[i]), down = 1 - share(plot.y_range, at.y[i])
        return [left * plot.inner_width, down * plot.inner_height]
    }}""", place)  # fmt: skip
    frame = page.locator(".bk-CartesianFrame").first.bounding_box()
    page.mouse.move(frame["x"] + x + 1, frame["y"] + y + 1)
    page.mouse.move(frame["x"] + x, frame["y"] + y)
    return page.get_by_text("read off from:").locator("xpath=..")


@pytest.fixture
def predicted(fitted, query):
    """Genes, slides and regions with names that mean something elsewhere."""
    query.obs["region"] = ODD
    bs.tl.impute(query, ref=fitted)
    query.var_names = [f"{name}{ODD}" if name == "HAL" else name for name in query.var_names]
    return query


def test_a_reader_finds_a_gene_and_what_is_behind_it(predicted, fitted, tmp_path, browser):
    bs.io.write_page(predicted, tmp_path / "page.html", ref=fitted)
    page, complaints = opened(browser, tmp_path / "page.html")
    page.locator("input[placeholder='search a gene']").press_sequentially("hAl")
    rows = page.locator(".slick-row")
    playwright.expect(rows.first).to_contain_text("HAL")
    assert rows.first.inner_text().startswith(f"HAL{ODD}")
    assert all("hal" in text.lower() for text in rows.all_inner_texts())
    rows.first.locator(".slick-cell").first.click()
    playwright.expect(page.locator("p", has_text=" on held-out slides)").first).to_contain_text("HAL")
    gene = f"HAL{ODD}"
    true = predicted[:, gene].layers["bleep"].ravel()
    np.testing.assert_allclose(shown(page)["values"], true, atol=np.ptp(true) / 255)
    r = predicted.var.loc[gene, "bleep_predictability"]
    assert shown(page)["said"].startswith(f"{gene}: follows what was measured (r = {r:.2f}")
    assert page.locator("p", has_text=" on held-out slides)").first.inner_text() == shown(page)["said"]

    tip = point_at(page, 100)
    text = tip.inner_text()
    assert f"{gene} (r = {r:.2f}): " in text
    said = float(text.split("): ")[1].split()[0])
    assert said == pytest.approx(true[100], abs=float(np.ptp(true)) / 255 + 0.005)
    assert f"confidence: {predicted.obs['bleep_confidence'].iloc[100]:.2f}" in text
    assert f"region: {ODD}" in text
    sizes = tip.locator("img").evaluate_all("(all) => all.map((each) => each.naturalWidth)")
    assert sizes == [56, 56, 56]  # the px of a patch of the reference
    assert page.evaluate("window.broken") is None
    assert complaints == []


def test_what_else_can_be_done(predicted, fitted, tmp_path, browser):
    predicted.obs["bleep_typicality"] = np.linspace(0, 1, predicted.n_obs, dtype=np.float32)
    bs.io.write_page(predicted, tmp_path / "page.html", ref=fitted)
    page, complaints = opened(browser, tmp_path / "page.html")
    page.get_by_role("button", name="red rims").click()
    handle = page.locator(".noUi-handle").first
    handle.focus()
    handle.press("ArrowLeft")
    after = shown(page)
    assert after["opacity"] == pytest.approx(0.65)
    assert after["rims"] is False
    page.get_by_role("button", name="like the reference", exact=True).click()
    playwright.expect(page.locator("p", has_text="How usual the tissue around a place is")).to_be_visible()
    assert shown(page)["end"] == 1
    scale = f"({MODEL})('scale').title.text"
    assert page.evaluate(scale) == "like the reference"
    page.locator(".slick-row").nth(1).locator(".slick-cell").first.click()  # a gene that is chosen is shown
    playwright.expect(page.locator("p", has_text=" on held-out slides)").first).to_be_visible()
    assert page.evaluate(scale).endswith(", ln(1 + counts per 10,000)")
    width = f"() => {{ const range = ({MODEL})('slide').x_range; return range.end - range.start }}"
    before = page.evaluate(width)
    page.locator(".bk-events").first.hover()
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"(before) => ({width})() < before", arg=before)
    assert complaints == []


def test_whoever_zooms_in_sees_a_finer_picture_and_the_shapes_of_cells(predicted, tmp_path, browser):
    side = 2500  # px of a scan of 1 µm per px
    pixels = np.random.default_rng(0).integers(0, 255, (side // 50, side // 50, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "scan.tif", np.repeat(np.repeat(pixels, 50, 0), 50, 1), photometric="rgb")
    library = predicted.uns["spatial"]["slice3"]
    library["images"]["hires"] = pixels
    library["scalefactors"]["tissue_hires_scalef"] = 1 / 50
    library["metadata"] = {"source_image_path": str(tmp_path / "scan.tif")}
    predicted.obs["cell_id"] = np.arange(predicted.n_obs)
    polygons = shapely.buffer(shapely.points(predicted.obsm["spatial"]), 20)
    cells = bs.slides.Cells(predicted.obs["cell_id"].to_numpy(), polygons, np.array([]))
    predicted.uns["cells"] = {"slice3": packed(cells)}
    bs.io.write_page(predicted, tmp_path / "page.html")
    page, complaints = opened(browser, tmp_path / "page.html")
    playwright.expect(page.locator("p", has_text="The picture has 1 µm per px, as the scan.")).to_be_visible()
    assert "2,500 × 2,500 px" in page.locator("body").inner_text()
    parts = f"({MODEL})('parts').visible"
    assert page.evaluate(parts) is False
    page.locator(".bk-events").first.hover()
    for _ in range(6):
        page.mouse.wheel(0, -400)
    page.wait_for_function(parts)
    assert complaints == []


def test_on_a_phone_nothing_is_beside_the_screen(predicted, fitted, tmp_path, browser):
    bs.io.write_page(predicted, tmp_path / "page.html", ref=fitted)
    page, complaints = opened(browser, tmp_path / "page.html", width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    slide = page.locator(".bk-CartesianFrame").first.bounding_box()
    search = page.locator("input[placeholder='search a gene']").bounding_box()
    assert slide["width"] > 300
    assert search["y"] > slide["y"] + slide["height"]
    assert search["x"] + search["width"] <= 390
    assert complaints == []


def test_the_index_of_a_cohort_sorts(predicted, tmp_path, browser):
    for name, n in (("few", 50), ("many", 228)):
        bs.io.write_page(predicted[:n].copy(), tmp_path / f"{name}.html", notes={"patient": ODD})
    bs.io.write_index(tmp_path)
    page, complaints = opened(browser, tmp_path / "index.html")
    rows = page.locator(".slick-row")
    assert "50" in rows.first.inner_text()
    assert ODD in rows.first.inner_text()
    head = page.locator(".slick-header-column", has_text="places")
    head.click()
    playwright.expect(head.locator(".slick-sort-indicator-asc")).to_be_attached()
    head.click()
    playwright.expect(rows.first).to_contain_text("228")
    assert rows.first.locator("a").get_attribute("href") == "many.html"
    titles = page.locator(".slick-header-column").all_inner_texts()
    assert [each.strip() for each in titles][1:4] == ["slide", "warnings", "genes to read"]
    assert page.evaluate("window.broken") is None
    assert complaints == []
