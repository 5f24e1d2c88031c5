"""Slides as instruments leave them become one AnnData that is ready to be fitted, or are refused with what to do."""

import json
import logging
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import tifffile
from PIL import Image

import bleep_sc as bs
from bleep_sc._adata.expression import unit_label
from bleep_sc._adata.patches import patches_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting .region_key:UserWarning"),
    pytest.mark.filterwarnings("ignore:Variable names are not unique:UserWarning"),
]


def prepare(folders, **how):
    """Without features, which take the most time."""
    return bs.io.prepare(folders, **{"encoder": None, "n_top_genes": 40, **how})


def test_visium_slides_are_joined(visium_slides, caplog):
    caplog.set_level(logging.INFO, logger="bleep_sc")
    folders = [visium_slides / name for name in ("A1", "B1")]
    adata = prepare(folders, donor={"A1": "P1", "B1": "P2"}, min_counts=2000)
    assert adata.obs["library_id"].cat.categories.tolist() == ["A1", "B1"]
    assert adata.obs.groupby("library_id", observed=True)["donor"].unique().map(list).tolist() == [["P1"], ["P2"]]
    counts = adata.layers["counts"]
    assert np.all(counts.data == np.round(counts.data))
    assert adata.obs["total_counts"].min() >= 2000
    totals = np.expm1(adata.X.toarray().astype(float)).sum(axis=1)
    np.testing.assert_allclose(totals, 1e4, rtol=1e-4)
    assert adata.uns["prepared"]["target_sum"] == 1e4
    some = adata[:, :100].copy()  # genes that are left out do not change what the others are
    assert unit_label(some, None) == "ln(1 + counts per 10,000)"
    some.X *= 3  # and are no more what was prepared
    assert unit_label(some, None) == "ln(1 + normalised counts)"
    record = adata.uns["patches"]["A1"]
    assert record["mpp"] == pytest.approx(1.25, rel=1e-3)
    assert record["mpp_source"] == "lattice fit, Visium pitch 100 µm"
    assert record["image"] == str(visium_slides / "A1" / "scan.tif")
    assert "patches" not in adata.obsm
    assert adata.uns["prepared"]["use_rep"] == ""
    rows = json.loads(adata.uns["prepared"]["slides"])
    assert [row["slide"] for row in rows] == ["A1", "B1"]
    n_on_tissue = sum(int(row["spots"].split(" of ")[0].replace(",", "")) for row in rows)
    assert n_on_tissue == adata.n_obs
    assert caplog.text.count("scan.tif") == 2
    assert "250 genes are shared by all 2 slides." in caplog.text
    assert not any("A1" in name for name in adata.obs)


def test_patches_are_those_of_extract_patches(space_ranger):
    """They are cut from the scan when they are needed, around the right spots."""
    import squidpy as sq

    adata = prepare({"A1": space_ranger})
    read = sq.read.visium(space_ranger, library_id="A1", source_image_path=space_ranger / "scan.tif")
    read = read[[name.removesuffix("-A1") for name in adata.obs_names]].copy()
    bs.pp.extract_patches(read, size=224, size_um=112)
    some = np.arange(0, adata.n_obs, 40)
    np.testing.assert_array_equal(patches_of(adata, "patches")[some], read.obsm["patches"][some])


def test_features_are_computed(space_ranger):
    pick(space_ranger, 8)
    adata = bs.io.prepare({"A1": space_ranger}, encoder="stain_stats", n_top_genes=40)
    assert adata.obsm["X_stain_stats"].shape == (adata.n_obs, 36)
    assert adata.uns["prepared"]["use_rep"] == "X_stain_stats"
    assert adata.uns["X_stain_stats"]["size_um"] == pytest.approx(112, abs=1)
    adata.write_h5ad(space_ranger / "ref.h5ad")


def test_genes_that_are_named_are_learnt_on(space_ranger):
    chosen = prepare({"A1": space_ranger}, min_spots=3)
    left_out = chosen.var_names[~chosen.var["highly_variable"]][:2].tolist()
    named = prepare({"A1": space_ranger}, min_spots=3, genes=left_out)
    assert set(named.var_names[named.var["highly_variable"]]) == {
        *chosen.var_names[chosen.var["highly_variable"]],
        *left_out,
    }
    alone = prepare({"A1": space_ranger}, min_spots=3, genes=left_out, n_top_genes=0)
    assert set(alone.var_names[alone.var["highly_variable"]]) == set(left_out)


def test_genes_that_are_named_and_not_there(space_ranger):
    gene = prepare({"A1": space_ranger}, min_spots=3).var_names[0]
    with pytest.raises(ValueError, match=rf"genes= names '{gene.lower()}x', which no slide has\. Did you mean '{gene}"):
        prepare({"A1": space_ranger}, genes=[f"{gene.lower()}x"])
    with pytest.raises(ValueError, match=rf"fewer than 100000 spots express: {gene} in \d+\. .*min_spots="):
        prepare({"A1": space_ranger}, genes=[gene], min_spots=100_000)
    with pytest.raises(ValueError, match="n_top_genes=0 must be at least 1, or 0 with genes="):
        prepare({"A1": space_ranger}, n_top_genes=0)


def test_bins_of_visium_hd(visium_hd):
    adata = prepare({"hd": visium_hd}, min_spots=1, bin_um=16)
    assert adata.uns["patches"]["hd"]["mpp_source"] == "scale factors"
    assert json.loads(adata.uns["prepared"]["slides"])[0]["technology"] == "Visium HD, 16 µm"
    assert adata.obs["total_counts"].min() >= 20
    summed = prepare({"hd": visium_hd}, min_spots=1, bin_um=32)
    assert json.loads(summed.uns["prepared"]["slides"])[0]["technology"] == "Visium HD, 32 µm"
    assert summed.obs["total_counts"].min() >= 80


def test_xenium_is_gathered_into_spots(xenium):
    adata = prepare({"lobe": xenium}, spot_um=100, min_spots=1)
    assert set(adata.obs["library_id"]) == {"lobe"}
    row = json.loads(adata.uns["prepared"]["slides"])[0]
    assert row["technology"] == "Xenium, toy panel"
    assert adata.uns["patches"]["lobe"]["mpp"] == pytest.approx(1.25)
    assert adata.uns["patches"]["lobe"]["mpp_source"] == "scale factors"


def test_a_spatialdata_store(space_ranger, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spatialdata_io

        sdata = spatialdata_io.visium(space_ranger, dataset_id="toy", fullres_image_file=space_ranger / "scan.tif")
        sdata.write(tmp_path / "A1.zarr")
    store, folder = prepare(tmp_path / "A1.zarr"), prepare({"A1": space_ranger})
    assert set(store.obs["library_id"]) == {"A1"}
    in_order = folder[store.obs_names]
    assert (store.layers["counts"] != in_order.layers["counts"]).nnz == 0
    np.testing.assert_allclose(store.obsm["spatial"], in_order.obsm["spatial"])
    some = np.arange(0, store.n_obs, 40)
    np.testing.assert_array_equal(store.obsm["patches"][some], patches_of(in_order, "patches")[some])
    store.write_h5ad(tmp_path / "written.h5ad")


def test_slides_of_an_h5ad_file_keep_their_names(tmp_path):
    toy = bs.datasets.toy(n_slices=2)[::4].copy()
    toy.layers["counts"] = toy.X.copy()
    toy.X = toy.X * 0.5  # whatever it is, the counts are taken
    toy.write_h5ad(tmp_path / "both.h5ad")
    adata = prepare(tmp_path / "both.h5ad")
    assert adata.obs["library_id"].cat.categories.tolist() == ["slice1", "slice2"]
    names = [f"{name}-{slide}" for name, slide in zip(toy.obs_names, toy.obs["library_id"], strict=True)]
    toy.obs_names = names
    assert (adata.layers["counts"] != toy[adata.obs_names].layers["counts"]).nnz == 0
    with pytest.raises(ValueError, match=r"holds 2 slides .* cannot all be called 'A1'"):
        prepare({"A1": tmp_path / "both.h5ad"})


def test_sections_of_original_st(data_folder, tmp_path):
    for file in ("C2.tsv.gz", "C2_selection.tsv", "C2.jpg"):
        (tmp_path / file).symlink_to(data_folder / "her2st" / file)
    with pytest.raises(ValueError, match=r"is not known: .*Pass pitch_um= \(--pitch\)"):
        prepare(tmp_path)
    adata = prepare(tmp_path, pitch_um=200, n_top_genes=100)
    read = bs.datasets.her2st("C2")
    assert set(adata.obs["library_id"]) == {"C2"}
    assert adata.n_obs == (np.asarray(read.X.sum(axis=1)).ravel() >= 100).sum()
    assert adata.uns["patches"]["C2"]["mpp"] == pytest.approx(0.686, abs=0.004)


def test_sections_beside_each_other(data_folder, tmp_path):
    for name in ("MOB1", "MOB3"):
        for file in (f"{name}.tsv", f"alignment_table_{name}.tsv", f"{name}.jpg"):
            (tmp_path / file).symlink_to(data_folder / "mob" / file)
    adata = prepare(tmp_path, pitch_um=100, size_um=560)
    assert adata.obs["library_id"].value_counts().to_dict() == {"MOB1": 379, "MOB3": 438}
    with pytest.raises(ValueError, match=r"26 px wide and are enlarged to 224 px.*size_um=\d+ \(--size-um\)") as error:
        prepare(tmp_path, pitch_um=100)
    enough = int(re.search(r"size_um=(\d+)", str(error.value))[1])
    prepare({"MOB1": tmp_path}, pitch_um=100, size_um=enough)
    with pytest.raises(ValueError, match="55 px wide"):
        prepare({"MOB1": tmp_path}, pitch_um=100, size_um=enough - 5)


def test_one_section_of_a_folder(data_folder):
    mob = data_folder / "mob"
    adata = prepare({"MOB1": mob}, pitch_um=100, size_um=560)
    assert adata.obs["library_id"].value_counts().to_dict() == {"MOB1": 379}
    with pytest.raises(ValueError, match=r"holds 4 slides .* called 'mine'.*or name one of them"):
        prepare({"mine": mob}, pitch_um=100, size_um=560)
    with pytest.raises(
        FileNotFoundError, match=r"no folder '.*MOB1'\. '.*mob' holds the sections 'MOB1', .*\{'MOB1': '"
    ):
        prepare(mob / "MOB1", pitch_um=100)
    with pytest.raises(ValueError, match=r"MOB2\.tsv' is a file, .*Pass the folder .*\{'MOB2': '.*--name MOB2"):
        prepare([mob / "MOB2.tsv"], pitch_um=100)


def test_a_real_folder_without_its_scan(data_folder, tmp_path):
    folder = data_folder / "visium_cytassist"
    with pytest.raises(FileNotFoundError, match=r"it is 3000 × 3000 px, .* --image visium_cytassist=FILE"):
        prepare(folder)
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 200, (3000, 3000, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "scan.tif", pixels, photometric="rgb")
    adata = prepare(folder, image=tmp_path / "scan.tif", size_um=600)
    counts = sc.read_10x_mtx(folder / "filtered_feature_bc_matrix").X
    assert adata.n_obs == (np.asarray(counts.sum(axis=1)) >= 100).sum()
    assert adata.uns["spatial"]["visium_cytassist"]["images"]["hires"].shape == (1000, 1000, 3)


# What is doubtful is refused, and nothing is written.


def pick(outs, every):
    """Leave some spots alone."""
    path = outs / "spatial" / "tissue_positions.csv"
    table = pd.read_csv(path)
    table["in_tissue"] = table["in_tissue"].where(np.arange(len(table)) % every == 0, 0)
    table.to_csv(path, index=False)


def replace_scan(outs, change):
    pixels = tifffile.imread(outs / "scan.tif")
    tifffile.imwrite(outs / "scan.tif", np.ascontiguousarray(change(pixels)), photometric="rgb")


def test_two_slides_of_one_name(space_ranger, visium_slides):
    (visium_slides / "other").mkdir()
    (visium_slides / "B1").rename(visium_slides / "other" / "A1")
    with pytest.raises(ValueError, match=r"Two slides are called 'A1'.*--name"):
        prepare([visium_slides / "A1", visium_slides / "other" / "A1"])


def test_the_same_slide_twice(visium_slides):
    with pytest.raises(
        ValueError, match="'A1' and 'again' are the same: they have the same barcodes with the same counts"
    ):
        prepare({"A1": visium_slides / "A1", "again": visium_slides / "A1"})


def test_two_scans(space_ranger):
    Image.fromarray(tifffile.imread(space_ranger / "scan.tif")).save(space_ranger / "copy.png")
    with pytest.raises(ValueError, match=r"Which image is the scan of slide 'A1' is not clear: .*copy\.png.*scan\.tif"):
        prepare({"A1": space_ranger})
    adata = prepare({"A1": space_ranger}, image={"A1": space_ranger / "copy.png"})
    assert adata.uns["patches"]["A1"]["image"].endswith("copy.png")


def test_an_image_of_another_size(space_ranger):
    replace_scan(space_ranger, lambda pixels: pixels[100:])
    with pytest.raises(
        FileNotFoundError, match=r"No full-resolution image of slide 'A1' .*there are scan\.tif \(\d+ × \d+ px\)"
    ):
        prepare({"A1": space_ranger})
    with pytest.raises(ValueError, match=r"but the scan is .* as the small images beside the spots tell"):
        prepare({"A1": space_ranger}, image=space_ranger / "scan.tif")


def test_an_image_that_was_turned(space_ranger):
    replace_scan(space_ranger, lambda pixels: np.rot90(pixels))
    with pytest.raises(ValueError, match="Width and height are exchanged: it was turned"):
        prepare({"A1": space_ranger}, image=space_ranger / "scan.tif")


def test_small_images_are_no_scans(space_ranger):
    (space_ranger / "scan.tif").unlink()
    (space_ranger / "spatial" / "cytassist_image.png").write_bytes(
        (space_ranger / "spatial" / "tissue_lowres_image.png").read_bytes()
    )
    with pytest.raises(FileNotFoundError, match="No full-resolution image"):
        prepare({"A1": space_ranger})
    with pytest.raises(ValueError, match="but the scan is"):
        prepare({"A1": space_ranger}, image=space_ranger / "spatial" / "tissue_hires_image.png")


def test_spots_outside(space_ranger):
    path = space_ranger / "spatial" / "tissue_positions.csv"
    table = pd.read_csv(path)
    table["pxl_col_in_fullres"] += 800
    table.to_csv(path, index=False)
    with pytest.raises(ValueError, match="spots lie outside the image"):
        prepare({"A1": space_ranger})


def test_a_blank_scan(space_ranger):
    replace_scan(space_ranger, np.zeros_like)
    with pytest.raises(ValueError, match=r"Slide 'A1' is blank where its spots are \(scan\.tif\)"):
        prepare({"A1": space_ranger})


def test_eosin_alone(space_ranger):
    replace_scan(
        space_ranger, lambda pixels: np.dstack([np.full_like(pixels[..., 0], 240), pixels[..., 1], pixels[..., 2]])
    )
    with pytest.raises(ValueError, match=r"Slide 'A1' shows eosin alone \(scan\.tif\).*--image"):
        prepare({"A1": space_ranger})


def test_um_that_contradict_each_other(space_ranger):
    pixels = tifffile.imread(space_ranger / "scan.tif")
    per_cm = 1e4 / 0.5
    tifffile.imwrite(
        space_ranger / "scan.tif", pixels, photometric="rgb", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER"
    )
    with pytest.raises(ValueError, match=r"measures 1\.25 µm per px .* but its image file says 0\.5 .*mpp= \(--mpp\)"):
        prepare({"A1": space_ranger})
    with pytest.warns(UserWarning, match=r"measures 1\.25 µm per px \(given\), but its image file says 0\.5"):
        adata = prepare({"A1": space_ranger}, mpp=1.25)
    assert adata.uns["patches"]["A1"]["mpp"] == 1.25


def test_um_that_nobody_knows(tmp_path):
    toy = bs.datasets.toy(n_slices=1)[::4].copy()
    del toy.obs["array_row"]
    toy.write_h5ad(tmp_path / "toy.h5ad")
    with pytest.raises(ValueError, match=r"µm per px of slide 'slice1' are not known .*Pass mpp="):
        prepare(tmp_path / "toy.h5ad")


def test_values_that_are_no_counts(toy, tmp_path):
    del toy.layers["counts"], toy.obsm["patches"]
    toy.write_h5ad(tmp_path / "toy.h5ad")
    with pytest.raises(ValueError, match=r"X of .*toy\.h5ad' holds no counts.*layers\['counts'\]"):
        prepare(tmp_path / "toy.h5ad")


def test_genes_that_are_not_shared(tmp_path):
    toy = bs.datasets.toy(n_slices=2)
    for slide in ("slice1", "slice2"):
        one = toy[toy.obs["library_id"] == slide][::4].copy()
        one.uns["spatial"] = {slide: one.uns["spatial"][slide]}
        if slide == "slice2":
            one.var_names = [*one.var_names[:50], *(f"ENSG{i:011d}" for i in range(one.n_vars - 50))]
        one.write_h5ad(tmp_path / f"{slide}.h5ad")
    with pytest.raises(ValueError, match=r"The slides share 50 genes .*symbols"):
        prepare([tmp_path / "slice1.h5ad", tmp_path / "slice2.h5ad"])


def test_no_spot_is_left(space_ranger):
    with pytest.raises(
        ValueError, match=r"No spot of slide 'A1' is left: .* at least 10000000 are asked for.*min-counts"
    ):
        prepare({"A1": space_ranger}, min_counts=10**7)
    with pytest.raises(ValueError, match=r"No gene is expressed in 100000 of the .*--min-spots"):
        prepare({"A1": space_ranger}, min_spots=10**5)


def test_folders_of_no_kind(tmp_path, space_ranger):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        prepare(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty' \(with none\) is none of: Space Ranger's outs"):
        prepare(tmp_path / "empty")
    (tmp_path / "all").mkdir()
    space_ranger.rename(tmp_path / "all" / "A1")
    with pytest.raises(ValueError, match=r"is no slide, but holds some: pass '.*A1'"):
        prepare(tmp_path / "all")


def test_names_that_are_not_there(space_ranger):
    with pytest.raises(ValueError, match=r"donor= names slides that are not there: 'B1' .there are: 'A1'"):
        prepare({"A1": space_ranger}, donor={"B1": "P"})
    with pytest.raises(ValueError, match="image= names slides that are not there: 'B1'"):
        prepare({"A1": space_ranger}, image={"B1": space_ranger / "scan.tif"})
    with pytest.raises(ValueError, match="image= is one image, but there are 2 folders"):
        prepare([space_ranger, space_ranger], image=space_ranger / "scan.tif")


def test_an_encoder_is_loaded_before_anything_is_read(tmp_path):
    with pytest.raises(Exception, match="nonsense"):
        bs.io.prepare(tmp_path / "nowhere", encoder="nonsense")


def test_one_image_is_no_image_of_several_sections(data_folder, tmp_path):
    for name in ("MOB1", "MOB3"):
        for file in (f"{name}.tsv", f"alignment_table_{name}.tsv", f"{name}.jpg"):
            (tmp_path / file).symlink_to(data_folder / "mob" / file)
    with pytest.raises(ValueError, match=r"image= is one image for .*, which holds 2 slides \('MOB1', 'MOB3'\)"):
        prepare(tmp_path, image=tmp_path / "MOB1.jpg", pitch_um=100, size_um=560)


@pytest.fixture
def turned(space_ranger, tissue):
    """A Visium folder without its scan; another one, a quarter turn from it and half as large, and its alignment."""
    (space_ranger / "scan.tif").unlink()
    measured, image = tissue.obsm["spatial"], tissue.uns["image"]
    places = np.column_stack([image.shape[0] - 1 - measured[:, 1], measured[:, 0]]) / 2
    tifffile.imwrite(space_ranger.parent / "turned.tif", np.rot90(image, -1)[::2, ::2], photometric="rgb")
    rows = zip(tissue.obs["array_row"].tolist(), tissue.obs["array_col"].tolist(), places.tolist(), strict=True)
    spots = [{"row": row, "col": col, "imageX": x, "imageY": y, "tissue": True} for row, col, (x, y) in rows]
    (space_ranger.parent / "turned.json").write_text(json.dumps({"serialNumber": "V1", "area": "A1", "oligo": spots}))
    return space_ranger, pd.DataFrame(places, index=tissue.obs_names)


def test_another_scan_is_taken_by_its_alignment(turned):
    folder, places = turned
    given = {"image": folder.parent / "turned.tif", "alignment": folder.parent / "turned.json"}
    adata = prepare({"A1": folder}, size_um=280, **given)
    own = [name.removesuffix("-A1") for name in adata.obs_names]
    np.testing.assert_allclose(adata.obsm["spatial"], places.loc[own], atol=1e-6)
    assert adata.uns["patches"]["A1"]["mpp"] == pytest.approx(2.5, rel=1e-3)
    assert adata.uns["patches"]["A1"]["image"] == str(given["image"])
    assert adata.uns["spatial"]["A1"]["metadata"]["alignment"] == "turned.json"
    assert "spatial_unregistered" not in adata.obsm
    assert "registration" not in adata.uns
    of_names = prepare({"A1": folder}, size_um=280, **{name: {"A1": path} for name, path in given.items()})
    np.testing.assert_array_equal(of_names.obsm["spatial"], adata.obsm["spatial"])
    with pytest.raises(ValueError, match=r"alignment= says how a scan of slide 'A1' lies.*--image A1=FILE"):
        prepare({"A1": folder}, alignment=given["alignment"])
    with pytest.raises(FileNotFoundError, match=r"alignment='nowhere\.json': there is no such file"):
        prepare({"A1": folder}, image=given["image"], alignment="nowhere.json")
    of_two = dict.fromkeys(("A1", "B1"), given["alignment"])
    with pytest.raises(ValueError, match="alignment= names slides that are not there: 'B1'"):
        prepare({"A1": folder}, alignment=of_two, size_um=280, image=given["image"])


def test_an_alignment_of_xenium_may_lie_anywhere(xenium, tmp_path):
    before = prepare({"lobe": xenium}, spot_um=100, min_spots=1)
    folder, elsewhere = Path(shutil.copytree(xenium, tmp_path / "lobe")), tmp_path / "matrix of mine.csv"
    (file,) = folder.rglob("*imagealignment.csv")
    file.rename(elsewhere)
    after = prepare({"lobe": folder}, spot_um=100, min_spots=1, alignment=elsewhere)
    np.testing.assert_array_equal(after.obsm["spatial"], before.obsm["spatial"])
    np.testing.assert_array_equal(after.layers["counts"].toarray(), before.layers["counts"].toarray())
