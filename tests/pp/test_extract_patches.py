import json

import numpy as np
import pytest
import scanpy as sc
import tifffile
from anndata import AnnData
from PIL import Image

import bleep_sc as bs


@pytest.fixture
def slide():
    """One slide of 300 × 400 px with spots on a square lattice, 20 px apart: 10 µm per px."""
    row, column = (axis.ravel() for axis in np.mgrid[2:13, 2:18])
    adata = AnnData(np.ones((len(row), 3), dtype=np.float32))
    adata.obs["array_row"], adata.obs["array_col"] = row, column
    adata.obsm["spatial"] = np.column_stack([column * 20.0, row * 20.0])
    return adata


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def test_raw_pixels_are_cut_as_in_the_paper(slide, image):
    bs.pp.extract_patches(slide, image, size=16, pitch_um=200)
    x, y = slide.obsm["spatial"][5].astype(int)
    np.testing.assert_array_equal(slide.obsm["patches"][5], image[y - 8 : y + 8, x - 8 : x + 8])
    assert slide.uns["patches"]["slide"]["size_um"] == pytest.approx(160)


def test_micrometres_mean_the_same_on_every_scanner(image):
    adata = bs.datasets.toy(n_slices=1)
    bs.pp.extract_patches(adata, size=50, size_um=100)
    record = adata.uns["patches"]["slice1"]
    assert record["mpp"] == pytest.approx(1.0)
    assert record["mpp_source"] == "lattice fit, Visium pitch 100 µm"
    pixels = adata.uns["spatial"]["slice1"]["images"]["hires"]
    coarse = np.asarray(
        Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2), Image.Resampling.BOX)
    )
    other = adata.copy()
    other.obsm["spatial"] = adata.obsm["spatial"] / 2
    bs.pp.extract_patches(other, coarse, size=50, size_um=100)
    assert other.uns["patches"]["slice1"]["side_px"] == 50
    a, b = adata.obsm["patches"].astype(float), other.obsm["patches"].astype(float)
    assert np.abs(a - b).mean() < 8


def test_where_microns_per_pixel_come_from(slide, image):
    def source(**kwargs):
        adata = slide.copy()
        bs.pp.extract_patches(adata, image, size=8, **kwargs)
        return adata.uns["patches"]["slide"]

    assert np.isnan(source()["mpp"])  # squares may be of any technology
    assert source(pitch_um=200)["mpp"] == pytest.approx(10)
    assert source(mpp=2.5)["mpp_source"] == "given"
    assert source(pitch_um=100)["mpp"] == pytest.approx(5)
    slide.uns["spatial"] = {"slide": {"scalefactors": {"microns_per_pixel": 7.0, "spot_diameter_fullres": 89.0}}}
    assert (source()["mpp"], source()["mpp_source"]) == (7.0, "scale factors")
    del slide.obs["array_row"]
    assert source()["mpp"] == 7.0
    del slide.uns["spatial"]
    assert np.isnan(source()["mpp"])
    with pytest.raises(ValueError, match=r"µm per px of slide 'slide' are not known .* Pass mpp="):
        source(size_um=100)
    with pytest.raises(KeyError, match=r"pitch_um=100 needs obs\['array_row'\]"):
        source(pitch_um=100)


def test_spots_can_be_dropped_where_a_patch_leaves_the_slide(slide, image):
    n = slide.n_obs
    dropped = bs.pp.extract_patches(slide, image, size=100, pad="drop", copy=True)
    x, y = slide.obsm["spatial"].T
    inside = (x >= 50) & (x <= 350) & (y >= 50) & (y <= 250)
    assert dropped.obs_names.tolist() == slide.obs_names[inside].tolist()
    assert len(dropped.obsm["patches"]) == inside.sum() < n
    assert slide.n_obs == n
    bs.pp.extract_patches(slide, image, size=100)
    np.testing.assert_array_equal(slide.obsm["patches"][inside], dropped.obsm["patches"])


def test_every_slide_gets_patches_of_its_own_image(slide, image, tmp_path):
    Image.fromarray(255 - image).save(tmp_path / "second.png")
    first, second = slide.copy(), slide.copy()
    first.obs["library_id"], second.obs["library_id"] = "one", "two"
    import anndata as ad

    both = ad.concat([first, second], index_unique="-")
    shuffled = both[np.random.default_rng(0).permutation(both.n_obs)].copy()
    bs.pp.extract_patches(shuffled, {"one": image, "two": tmp_path / "second.png"}, size=8)
    bs.pp.extract_patches(first, image, size=8)
    patches = shuffled[both.obs_names].obsm["patches"]
    np.testing.assert_array_equal(patches[: first.n_obs], first.obsm["patches"])
    np.testing.assert_array_equal(patches[first.n_obs :], 255 - first.obsm["patches"])
    assert shuffled.uns["patches"]["two"]["image"] == str(tmp_path / "second.png")
    with pytest.raises(KeyError, match=r"image= has no entry for slide 'two'"):
        bs.pp.extract_patches(shuffled, {"one": image}, size=8)
    with pytest.raises(ValueError, match="one image, but there are 2 slides"):
        bs.pp.extract_patches(shuffled, image, size=8)


def test_an_image_of_several_scales_is_one_image(slide, image):
    import xarray as xr

    scales = {
        f"scale{i}": xr.Dataset({"image": xr.DataArray(image[::step, ::step], dims=("y", "x", "c"))})
        for i, step in enumerate((1, 2))
    }
    tree = xr.DataTree.from_dict(scales)  # as SpatialData holds it; a mapping, of scales
    bs.pp.extract_patches(slide, tree, size=8)
    again = slide.copy()
    bs.pp.extract_patches(again, image, size=8)
    np.testing.assert_array_equal(slide.obsm["patches"], again.obsm["patches"])


def test_the_recorded_file_is_found(slide, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "slide.png")
    slide.uns["spatial"] = {"S1": {"metadata": {"source_image_path": str(tmp_path / "slide.png")}}}
    bs.pp.extract_patches(slide, size=8)
    assert slide.uns["patches"]["S1"]["image"] == str(tmp_path / "slide.png")
    slide.uns["spatial"] = {"S1": {"images": {"hires": image}, "scalefactors": {"tissue_hires_scalef": 0.2}}}
    with pytest.raises(KeyError, match=r"No full-resolution image of slide 'S1' is known.*would blur the patches"):
        bs.pp.extract_patches(slide, size=8)


def test_real_tissue_has_the_pitch_of_its_technology(data_folder):
    adata = bs.datasets.her2st("C3")
    bs.pp.extract_patches(adata, size=32, size_um=112)
    record = adata.uns["patches"]["C3"]
    assert record["mpp"] == pytest.approx(0.686, abs=0.002)
    assert record["side_px"] == 163
    brightness = adata.obsm["patches"].mean(axis=(1, 2, 3))
    assert np.median(brightness) < 200  # on tissue, not on glass


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "message"),
    [
        (lambda a: a.obsm.pop("spatial"), {}, KeyError, r"obsm\['spatial'\] not found"),
        (lambda a: a.obsm.update(spatial=a.obsm["spatial"][:, ::-1] + [0, 0]), {}, ValueError, "With x and y swapped"),
        (lambda a: a.obsm.update(spatial=a.obsm["spatial"] * 20), {}, ValueError, "lie outside the image"),
        (lambda a: None, {"size": 0}, ValueError, "size=0 px"),
        (lambda a: None, {"pad": "wrap"}, ValueError, "pad='wrap' is not known"),
        (lambda a: None, {"mpp": -1.0}, ValueError, "mpp=-1.0 must be positive"),
        (lambda a: None, {"image": np.zeros((300, 400), dtype=np.uint8)}, ValueError, "Convert it to RGB"),
        (lambda a: None, {"image": "missing.tif"}, FileNotFoundError, "No image file at 'missing.tif'"),
    ],
)
def test_bad_input_leaves_the_adata_as_it_was(slide, image, change, kwargs, error, message):
    change(slide)
    with pytest.raises(error, match=message):
        bs.pp.extract_patches(slide, **{"image": image, "size": 8, **kwargs})
    assert "patches" not in slide.obsm
    assert "patches" not in slide.uns


def test_the_hires_image_is_recognised_as_such(slide, image):
    slide.obsm["spatial"] = slide.obsm["spatial"] * 20
    slide.uns["spatial"] = {"S1": {"scalefactors": {"tissue_hires_scalef": 0.05}}}
    with pytest.raises(
        ValueError, match=r"Multiplied by tissue_hires_scalef .* pass the full-resolution one as image="
    ):
        bs.pp.extract_patches(slide, image, size=8)


def test_patches_with_nothing_more_to_see_are_warned_of(toy):
    bs.pp.extract_patches(toy, size=64, size_um=16)
    with pytest.warns(
        UserWarning, match=r"16 px wide and are enlarged to 65 px.* pass the full-resolution one as image="
    ):
        bs.pp.extract_patches(toy[toy.obs["library_id"] == "slice1"].copy(), size=65, size_um=16)


def test_slides_whose_images_have_other_names_are_named(toy):
    toy.uns["spatial"] = {f"{name}_run": record for name, record in toy.uns["spatial"].items()}
    with pytest.raises(
        KeyError, match=r"No image of slide 'slice1' is known: uns\['spatial'\] has 'slice1_run', .*library_id=name"
    ):
        bs.pp.extract_patches(toy, size=16, size_um=16)


def test_coordinates_of_a_scaled_image_are_warned_of(toy):
    toy.obsm["spatial"] = toy.obsm["spatial"] * 0.2
    for record in toy.uns["spatial"].values():
        record["scalefactors"]["microns_per_pixel"] = 1.0
    with pytest.warns(
        UserWarning, match="neighbouring spots are 20 µm apart .* instead of 100, as with coordinates of a scaled"
    ):
        bs.pp.extract_patches(toy, size=16)


def test_swapped_coordinates_that_stay_inside_the_image_are_warned_of(toy):
    one = toy[toy.obs["library_id"] == "slice1"].copy()
    image = np.full((4000, 4000, 3), 255, dtype=np.uint8)
    one.obsm["spatial"] = one.obsm["spatial"][:, ::-1]
    with pytest.warns(UserWarning, match="mirrored against .* as with x and y swapped"):
        bs.pp.extract_patches(one, image, size=16)


def test_another_pitch_than_that_of_visium_is_warned_of_whoever_says_so(toy, tmp_path):
    one = toy[toy.obs["library_id"] == "slice1"].copy()
    with pytest.warns(UserWarning, match="neighbouring spots are 50 µm apart at 0.5 µm per px, instead of 100.*mpp="):
        bs.pp.extract_patches(one, mpp=0.5, size=16)
    assert one.uns["patches"]["slice1"]["mpp"] == 0.5


def test_places_that_do_not_belong_to_the_coordinates_are_warned_of(slide, image):
    slide.obs["array_row"] = np.random.default_rng(0).permutation(slide.obs["array_row"])
    slide = slide[~slide.obs.duplicated(["array_row", "array_col"])].copy()
    with pytest.warns(UserWarning, match="looks wrong: array_row and array_col do not fit the coordinates: spots lie"):
        bs.pp.extract_patches(slide, image, size=8, mpp=2.0)


def test_a_spot_that_was_moved_off_its_lattice_does_not_condemn_the_slide(slide, image):
    slide.obsm["spatial"][80] = [30.0, 250.0]
    with pytest.warns(UserWarning, match=r"looks wrong: 1 of 176 spots lie up to \d+ px off the lattice of the others"):
        bs.pp.extract_patches(slide, image, size=8, pitch_um=200)
    assert slide.uns["patches"]["slide"]["mpp"] == pytest.approx(10)


def test_a_section_in_the_upper_left_of_its_image_is_not_taken_for_one_in_um(slide):
    """One that spans little of it, whose reader knew µm per px, or whose lattice has the pitch that was given."""
    image = np.zeros((550, 770, 3), dtype=np.uint8)
    bs.pp.extract_patches(slide, image, size=8, mpp=0.5, pitch_um=10)
    with pytest.warns(UserWarning, match="at 0.5 µm per px they look like µm"):
        bs.pp.extract_patches(slide, image, size=8, mpp=0.5)
    slide.uns["spatial"] = {"slide": {"scalefactors": {"microns_per_pixel": 0.5}}}
    bs.pp.extract_patches(slide, image, size=8)
    del slide.obs["array_row"]
    slide.obsm["spatial"] = 250 + slide.obsm["spatial"] / 2
    bs.pp.extract_patches(slide, np.zeros((1000, 1000, 3), dtype=np.uint8), size=8, mpp=0.5)


def test_spots_off_tissue_are_counted(slide, image):
    slide.obs["in_tissue"] = np.arange(slide.n_obs) % 8 > 0
    for kind in (bool, int, float, str, "category"):
        slide.obs["in_tissue"] = slide.obs["in_tissue"].astype(kind)
        with pytest.warns(
            UserWarning, match=r"22 of 176 spots are off tissue \(obs\['in_tissue'\] is 0\): .*Leave them o"
        ):
            bs.pp.extract_patches(slide, image, size=8)


@pytest.mark.parametrize(("width", "n_off", "blamed"), [
    (330, 11, r"may be a scan that was cropped: leave these out, by pad='drop'"),
    (230, 66, "belong to different resolutions"),
])  # fmt: skip
def test_spots_off_the_image_are_dropped_where_that_is_asked_for(slide, image, width, n_off, blamed):
    image = np.ascontiguousarray(image[:, :width])
    with pytest.raises(ValueError, match=rf"{n_off} of 176 spots lie outside the image: .*{blamed}"):
        bs.pp.extract_patches(slide, image, size=8, mpp=2.0)
    dropped = bs.pp.extract_patches(slide, image, size=8, pad="drop", mpp=2.0, copy=True)
    inside = slide.obsm["spatial"][:, 0] <= width - 4
    assert dropped.obs_names.tolist() == slide.obs_names[inside].tolist()
    x, y = dropped.obsm["spatial"][-1].astype(int)
    np.testing.assert_array_equal(dropped.obsm["patches"][-1], image[y - 4 : y + 4, x - 4 : x + 4])


def test_an_image_of_another_resolution_is_not_dropped_to_fit(slide, image):
    for wrong in (slide.obsm["spatial"] * 3, slide.obsm["spatial"][:, ::-1]):
        slide.obsm["spatial"] = wrong
        with pytest.raises(ValueError, match="lie outside the image"):
            bs.pp.extract_patches(slide, image, size=8, pad="drop")


def test_slides_of_two_magnifications_are_warned_of_and_not_fitted():
    """20× and 40×: patches of so many px show twice the tissue on one."""
    import anndata as ad

    rng, parts = np.random.default_rng(0), {}
    row, column = (axis[axis * 0 == np.indices((8, 16)).sum(axis=0) % 2] for axis in np.indices((8, 16)))
    for name, factor in (("slice1", 1), ("slice2", 2)):
        counts = rng.poisson(3, (len(row), 40)) + 1.0
        part = AnnData(np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4).astype(np.float32))
        part.obs_names = [f"{name}_{i}" for i in range(part.n_obs)]
        part.obs["library_id"], part.obs["array_row"], part.obs["array_col"] = name, row, column
        part.obsm["spatial"] = factor * (60 + np.column_stack([column * 50, row * 50 * np.sqrt(3)]))
        pixels = rng.integers(0, 256, (800 * factor, 900 * factor, 3), dtype=np.uint8)
        part.uns["spatial"] = {name: {"images": {"hires": pixels}, "scalefactors": {"tissue_hires_scalef": 1}}}
        parts[name] = part
    together = ad.concat(parts, uns_merge="unique")
    with pytest.warns(
        UserWarning, match="Patches of 64 px show 64 µm of 'slice1', 32 µm of 'slice2'.*size_um=, such as 64"
    ):
        bs.pp.extract_patches(together, size=64)
    for part in parts.values():
        bs.pp.extract_patches(part, size=64)
        bs.pp.image_features(part, "stain_stats", show_progress_bar=False)
    one_by_one = ad.concat(parts, uns_merge="first")
    bs.pp.image_features(together, "stain_stats", show_progress_bar=False)
    calls = (bs.tl.fit, {"use_rep": "X_stain_stats"}), (bs.tl.fit_ridge, {"use_rep": "X_stain_stats"})
    for fit, how in (*calls, (bs.tl.fit_histogene, {}), (bs.tl.fit_stnet, {})):
        for mixed in (together, one_by_one):
            with pytest.raises(ValueError, match="show 32 µm on slide 'slice2' and 64 µm on slide 'slice1'"):
                fit(mixed, **how)
    bs.pp.extract_patches(together, size=64, size_um=64)
    bs.pp.image_features(together, "stain_stats", show_progress_bar=False)
    bs.tl.fit_ridge(together, use_rep="X_stain_stats")


def write_scan(path, pixels, *, n_levels):
    """Write pixels with levels that are averages of two by two, without loss."""
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=n_levels - 1, **options)
        for i in range(1, n_levels):
            file.write(np.asarray(Image.fromarray(pixels).reduce(2**i)), subfiletype=1, **options)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The toy slide with and without a pyramid."""
    pixels = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"]
    folder = tmp_path_factory.mktemp("scans")
    for name, n_levels in (("pyramid", 3), ("flat", 1)):
        write_scan(folder / f"{name}.tif", pixels, n_levels=n_levels)
    return folder / "pyramid.tif", folder / "flat.tif"


def cut_from(scan, **kwargs):
    adata = bs.datasets.toy(n_slices=1)
    bs.pp.extract_patches(adata, scan, size=28, size_um=112, **kwargs)
    return adata


def test_large_patches_come_from_a_level_and_are_alike(scans):
    pyramid, flat = map(cut_from, scans)
    assert [each.uns["patches"]["slice1"]["level"] for each in (pyramid, flat)] == [1, 0]
    difference = np.abs(pyramid.obsm["patches"].astype(int) - flat.obsm["patches"])
    assert 0 < difference.mean() < 2.5
    features = []
    for adata in (pyramid, flat):
        bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
        features.append(adata.obsm["X_stain_stats"])
    spread = features[1].std(axis=0)
    differs = spread > 1e-3
    assert np.sqrt(np.mean(((features[0] - features[1])[:, differs] / spread[differs]) ** 2)) < 0.25


def test_or_from_the_full_resolution_the_same(scans, tmp_path):
    exact, flat = (cut_from(scan, full_resolution=True) for scan in scans)
    assert exact.uns["patches"]["slice1"]["level"] == 0
    np.testing.assert_array_equal(exact.obsm["patches"], flat.obsm["patches"])
    cut_from(scans[0], full_resolution=True, store=tmp_path / "store")
    with pytest.raises(FileExistsError):  # the one is not taken for the other
        cut_from(scans[0], store=tmp_path / "store")


def test_a_level_is_read_again_and_records_without_one_mean_the_full_resolution(scans, tmp_path):
    from bleep_sc._adata.patches import patches_of

    adata, stored = cut_from(scans[0]), cut_from(scans[0], store=tmp_path / "store")
    np.testing.assert_array_equal(stored.obsm["patches"].compute(), adata.obsm["patches"])
    at_level = adata.obsm.pop("patches")
    np.testing.assert_array_equal(patches_of(adata, "patches")[:], at_level)
    del adata.uns["patches"]["slice1"]["level"]
    np.testing.assert_array_equal(patches_of(adata, "patches")[:], cut_from(scans[1]).obsm["patches"])


@pytest.mark.parametrize("full_resolution", [False, True])
def test_tiles_are_read_as_the_patches_of_the_reference_were(scans, full_resolution):
    ref = cut_from(scans[0], full_resolution=full_resolution)
    sc.pp.normalize_total(ref, target_sum=1e4)
    sc.pp.log1p(ref)
    bs.pp.image_features(ref, "stain_stats", show_progress_bar=False)
    bs.tl.fit_ridge(ref, use_rep="X_stain_stats")

    def tile(**kwargs):
        how = {"mpp": ref.uns["patches"]["slice1"]["mpp"], "centers": ref.obsm["spatial"], "show_progress_bar": False}
        return bs.pp.tile_slide(scans[0], ref=ref, key="ridge", **how, **kwargs)

    tiles = tile()
    assert tiles.uns["patches"]["pyramid"]["level"] == (0 if full_resolution else 1)
    assert tile(full_resolution=not full_resolution).uns["patches"]["pyramid"]["level"] == (1 if full_resolution else 0)
    bs.pp.image_features(tiles, "stain_stats", show_progress_bar=False)
    np.testing.assert_array_equal(tiles.obsm["X_stain_stats"], ref.obsm["X_stain_stats"])
    trained = json.loads(ref.uns["ridge"]["recipe"])
    del trained["features"][0]["full_resolution"]  # as models of 0.1.0, which had no choice
    ref.uns["ridge"]["recipe"] = json.dumps(trained)
    assert tile().uns["patches"]["pyramid"]["level"] == 0
