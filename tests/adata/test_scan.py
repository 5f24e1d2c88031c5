"""Pictures that Space Ranger leaves beside the scan are not taken for it, where small sections lie inside them."""

import numpy as np
import pytest
from anndata import AnnData
from PIL import Image

import bleep_sc as bs

FULL = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
HIRES, LOWRES = FULL[::2, ::2].copy(), FULL[::10, ::10].copy()
FACTORS = {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1}
NAMES = ("tissue_hires_image.png", "GSM1_tissue_hires_image.png", "detected_tissue_image.jpg", "aligned_fiducials.jpg")


def section(images=None, factors=FACTORS):
    """A few spots in the corner of a slide, which lie in all of its pictures."""
    adata = AnnData(np.ones((9, 2), dtype=np.float32))
    adata.obsm["spatial"] = np.array([[x, y] for x in (20.0, 40, 60) for y in (20.0, 40, 60)])
    adata.uns["spatial"] = {"S1": {"images": images or {}, "scalefactors": factors, "metadata": {}}}
    return adata


def saved(pixels, path):
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    "stored", [{"hires": HIRES}, {"lowres": LOWRES}, {"hires": HIRES / 255, "lowres": LOWRES / 255}]
)
@pytest.mark.parametrize(("picture", "factor"), [(HIRES, 0.5), (LOWRES, 0.1)])
def test_the_size_of_the_stored_image_and_its_factor_tell(stored, picture, factor):
    adata = section(stored)
    with pytest.raises(
        ValueError, match=rf"The image of slide 'S1' .*is scaled down by {factor}, .*Pass the scan that"
    ):
        bs.pp.extract_patches(adata, picture, size=8)
    assert "patches" not in adata.uns
    bs.pp.extract_patches(adata, FULL, size=8)
    adata.uns["spatial"]["S1"]["scalefactors"] = dict.fromkeys(FACTORS, 1)  # px of this picture
    if "hires" in stored and picture is HIRES:
        bs.pp.extract_patches(adata, picture, size=8)


def test_a_path_among_the_stored_images_says_nothing_of_sizes():
    adata = section({"hires": "tissue_hires_image.png", "lowres": LOWRES})
    bs.pp.extract_patches(adata, FULL, size=8)
    with pytest.raises(ValueError, match=r"is scaled down by 0\.5"):
        bs.pp.extract_patches(adata, HIRES, size=8)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_tells_where_no_image_is_stored(tmp_path, name):
    path = saved(HIRES, tmp_path / name)
    adata = section()
    with pytest.raises(ValueError, match=rf"slide 'S1' \({name}, 600 × 450 px\) is scaled down by 0.5"):
        bs.pp.extract_patches(adata, path, size=8)
    adata.uns["spatial"]["S1"]["metadata"]["source_image_path"] = str(path)
    with pytest.raises(ValueError, match=r"is scaled down by 0\.5"):
        bs.pp.extract_patches(adata, size=8)
    with pytest.warns(UserWarning, match=f"'{name}' is what Space Ranger calls a picture that is scaled down"):
        bs.pp.extract_patches(section(factors={}), path, size=8)


def test_a_picture_of_full_resolution_may_have_any_name(tmp_path):
    """Of a CytAssist without a microscope, Space Ranger's pictures are the full resolution."""
    path = saved(FULL, tmp_path / "aligned_fiducials.jpg")
    bs.pp.extract_patches(section({"hires": HIRES}), path, size=8)
    bs.pp.extract_patches(section({"hires": HIRES}), saved(FULL[:, :777], tmp_path / "crop.png"), size=8)


def test_the_picture_of_the_cytassist_is_warned_of(tmp_path):
    path = saved(FULL, tmp_path / "cytassist_image.tiff")
    with pytest.warns(UserWarning, match="'cytassist_image.tiff' is the picture of the CytAssist, eosin alone"):
        bs.pp.extract_patches(section(), path, size=8)
    bs.pp.extract_patches(section(), saved(FULL, tmp_path / "CytAssist_FFPE_tissue_image.tif"), size=8)  # 10x's scans


def test_advice_that_was_followed_is_not_given_again(tmp_path):
    import anndata as ad

    parts = {name: section(factors={}) for name in ("a", "b")}
    for name, part in parts.items():
        part.uns["spatial"]["S1"]["metadata"]["source_image_path"] = f"{name}.tif"
    both = ad.concat(parts, label="library_id", index_unique="-", uns_merge="unique")
    with pytest.raises(
        KeyError, match=r"There is no uns\['spatial'\] at all: .*keeps entries of different names"
    ) as error:
        bs.pp.extract_patches(both, size=8)
    assert "uns_merge" not in str(error.value)
    images = {name: saved(FULL, tmp_path / f"{name}.png") for name in parts}
    bs.pp.extract_patches(both, images, size=8)
