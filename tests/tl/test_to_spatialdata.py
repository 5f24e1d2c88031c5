import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import squidpy as sq

import bleep_sc as bs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import spatialdata as sd
    import spatialdata_plot  # noqa: F401
    from spatialdata.transformations import get_transformation

pytestmark = pytest.mark.filterwarnings("ignore")  # what spatialdata, dask and xarray say of each other


@pytest.fixture
def imputed(fitted, query):
    bs.tl.impute(query, ref=fitted)
    return query


def test_image_spots_and_genes_lie_on_each_other_and_come_back_from_disk(imputed, tmp_path):
    sdata = bs.tl.to_spatialdata(imputed)
    sdata.write(tmp_path / "a.zarr")
    again = sd.read_zarr(tmp_path / "a.zarr")
    assert set(again.coordinate_systems) == {"slice3"}
    shapes, table = again.shapes["slice3"], again.tables["table"]
    np.testing.assert_allclose(np.column_stack([shapes.geometry.x, shapes.geometry.y]), imputed.obsm["spatial"])
    assert list(shapes.index) == list(table.obs["spot_id"]) == list(range(imputed.n_obs))
    assert list(table.obs_names) == list(imputed.obs_names)
    np.testing.assert_allclose(table.X, imputed.layers["bleep"], rtol=1e-6)
    image = again.images["slice3_hires_image"]
    matrix = get_transformation(image, "slice3").to_affine_matrix(("x", "y"), ("x", "y"))
    scale = imputed.uns["spatial"]["slice3"]["scalefactors"]["tissue_hires_scalef"]
    np.testing.assert_allclose(matrix[:2, :2], np.eye(2) / scale)


def test_a_full_resolution_image_gets_scales_and_is_the_same(imputed, tmp_path, monkeypatch):
    monkeypatch.setattr("bleep_sc.tl._to_spatialdata.SMALL", 100)
    monkeypatch.setattr("bleep_sc.tl._to_spatialdata.CHUNK", 256)
    pixels = imputed.uns["spatial"]["slice3"]["images"]["hires"]
    sdata = bs.tl.to_spatialdata(imputed, image=pixels)
    sdata.write(tmp_path / "a.zarr")
    image = sd.read_zarr(tmp_path / "a.zarr").images["slice3_full_image"]
    with bs.slides.open_slide(image) as slide:
        assert [level.downsample for level in slide.levels][:3] == pytest.approx([1, 2, 4], rel=0.01)
        np.testing.assert_array_equal(slide.read_region(0, 0, slide.width, slide.height), pixels)


@pytest.mark.parametrize("name", ["slice3_hires_image", "slice3_full_image"])
def test_it_is_drawn_by_spatialdata_plot_in_its_own_colours(imputed, name):
    import matplotlib.pyplot as plt

    pixels = imputed.uns["spatial"]["slice3"]["images"]["hires"]
    sdata = bs.tl.to_spatialdata(imputed, image=pixels if name.endswith("full_image") else None)
    _, ax = plt.subplots()
    sdata.pl.render_images(name).pl.render_shapes("slice3", color="CYP3A4").pl.show("slice3", ax=ax)
    assert ax.collections
    drawn = np.asarray(ax.images[0].get_array(), dtype=float)[..., :3]
    np.testing.assert_allclose(drawn.mean(axis=(0, 1)), pixels.mean(axis=(0, 1)) / 255, atol=0.01)


def test_predictions_flow_through_squidpy(imputed):
    table = bs.tl.to_spatialdata(imputed).tables["table"]
    sq.gr.spatial_neighbors_grid(table)
    assert table.obsp["spatial_connectivities"].nnz > 0
    sq.gr.spatial_autocorr(table, mode="moran", genes=["CYP3A4", "HAL"], show_progress_bar=False)
    assert table.uns["moranI"].loc["CYP3A4", "I"] > 0.3
    table.obs["zone"] = np.where(table[:, "CYP3A4"].X.ravel() > np.median(table[:, "CYP3A4"].X), "central", "portal")
    table.obs["zone"] = table.obs["zone"].astype("category")
    sq.gr.nhood_enrichment(table, cluster_key="zone", n_perms=50, show_progress_bar=False)
    assert table.uns["zone_nhood_enrichment"]["zscore"][0, 0] > 2
    sq.pl.spatial_scatter(table, color="CYP3A4", library_id="slice3")


def test_slides_of_patches_can_be_cut_from_it(imputed):
    pixels = imputed.uns["spatial"]["slice3"]["images"]["hires"]
    sdata = bs.tl.to_spatialdata(imputed, image=pixels)
    bs.pp.extract_patches(sdata, size=56, size_um=112)
    np.testing.assert_array_equal(sdata.tables["table"].obsm["patches"], imputed.obsm["patches"])


def test_several_slides_are_kept_apart(fitted, toy):
    query = toy[toy.obs["library_id"] != "slice1"].copy()
    with pytest.warns(UserWarning, match="in the query and in the reference"):
        bs.tl.impute(query, ref=fitted)
    pixels = query.uns["spatial"]["slice2"]["images"]["hires"]
    sdata = bs.tl.to_spatialdata(query, image={"slice2": pixels})
    assert set(sdata.coordinate_systems) == {"slice2", "slice3"}
    assert set(sdata.images) == {"slice2_full_image", "slice3_hires_image"}
    table = sdata.tables["table"]
    for name, shapes in sdata.shapes.items():
        rows = table.obs["spot_id"][table.obs["library_id"] == name]
        np.testing.assert_allclose(shapes.geometry.get_coordinates().loc[rows], query.obsm["spatial"][rows])
    with pytest.raises(ValueError, match="image= is one image, but there are 2 slides"):
        bs.tl.to_spatialdata(query, image=pixels)
    with pytest.raises(KeyError, match="names slides that are not in adata: 'slice9'"):
        bs.tl.to_spatialdata(query, image={"slice9": pixels})


def test_another_image_is_refused(imputed):
    with pytest.raises(ValueError, match="spots lie outside the image"):
        bs.tl.to_spatialdata(imputed, image=imputed.uns["spatial"]["slice3"]["images"]["hires"][::2, ::2])


def test_the_small_picture_is_not_taken_for_the_scan_of_a_section_that_lies_in_it(imputed):
    imputed.obsm["spatial"] = imputed.obsm["spatial"] / 4
    small = imputed.uns["spatial"]["slice3"]["images"]["hires"]
    imputed.uns["spatial"]["slice3"]["scalefactors"]["tissue_hires_scalef"] = 0.25
    with pytest.raises(ValueError, match=r"is scaled down by 0.25.*Pass the scan"):
        bs.tl.to_spatialdata(imputed, image=small)


def test_slides_of_any_name_are_written(imputed, tmp_path, caplog):
    name = "Größe 1 (β)"
    imputed.obs["library_id"] = name
    imputed.uns["spatial"] = {name: imputed.uns["spatial"]["slice3"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's and spatialdata's, about themselves
        bs.tl.to_spatialdata(imputed).write(tmp_path / "a.zarr")
        sdata = sd.read_zarr(tmp_path / "a.zarr")
    assert "slide 'Größe 1 (β)' is 'Gr__e_1____' there" in caplog.text
    assert (list(sdata.shapes), list(sdata.images)) == (["Gr__e_1____"], ["Gr__e_1_____hires_image"])
    assert set(sdata.tables["table"].obs["library_id"]) == {"Gr__e_1____"}
    np.testing.assert_allclose(sdata.shapes["Gr__e_1____"].geometry.get_coordinates(), imputed.obsm["spatial"])
    imputed.obs["library_id"] = np.where(np.arange(imputed.n_obs) < 50, "Größe 1", "Gräße 1")
    with pytest.raises(ValueError, match=r"'Größe 1', 'Gräße 1' would not all have their own: 'Gr__e_1', 'Gr__e_1'"):
        bs.tl.to_spatialdata(imputed)


def test_viewers_find_what_their_page_names(imputed, tmp_path, monkeypatch):
    """The paths and names of docs/howto/viewers.md, in the object that its first lines write."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "howto" / "viewers.md").read_text()
    _, _, first, *rest = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)  # after the page and the view
    exec(first, {"bs": bs, "adata_query": imputed, "image": imputed.uns["spatial"]["slice3"]["images"]["hires"]})
    sdata = sd.read_zarr("slice3.zarr")
    for name in re.findall(r'add_element\("(\w+)", "slice3"\)', rest[0]):
        assert "slice3" in get_transformation(sdata[name], get_all=True)
    paths = re.findall(r'_path="([^"]+)"', rest[1])
    assert len(paths) == 5
    for path in paths:
        assert (Path("slice3.zarr") / path.removeprefix("slice3.zarr")).is_dir(), path
    table = sdata.tables["table"]
    assert list(table.obs[table.uns["spatialdata_attrs"]["region_key"]].unique()) == ["slice3"]
    assert re.search(r'\["(\w+)"\], "geneSelection"', rest[1])[1] in table.var_names
