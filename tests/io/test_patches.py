"""Eosin alone is told from H&E on real pictures of both."""

import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.io._patches import is_eosin_alone
from bleep_sc.slides._stains import DENSITY, FAINTEST


def tissue_of(path, part=(slice(None), slice(None))):
    """Optical densities of the px that are no glass."""
    with bs.slides.open_slide(path) as slide:
        pixels = slide.thumbnail(3000)[part][::2, ::2].reshape(-1, 3)
    density = DENSITY[pixels]
    return density[density.mean(axis=1) > FAINTEST]


def test_the_picture_of_a_cytassist(data_folder):
    """Within its frame of fiducials, where the spots are."""
    inside = (slice(160, 440), slice(60, 320))
    assert is_eosin_alone(tissue_of(data_folder / "visium_cytassist" / "spatial" / "tissue_lowres_image.png", inside))


@pytest.mark.parametrize(
    "file",
    [
        "wsi/CMU-1-Small-Region.svs",
        "wsi/tcga-cr-7395-01a-01-ts1.svs",
        "wsi/HE_example.tif",
        "visium_mouse_brain_crop/test_img.jpg",
        "xenium_lung_core/NCBI858.jpg",
        "mob/MOB1.jpg",
    ],
)
def test_slides_with_haematoxylin(data_folder, file):
    assert not is_eosin_alone(tissue_of(data_folder / file))


def test_toy_tissue():
    image = bs.datasets.toy(n_slices=1).uns["spatial"]["slice1"]["images"]["hires"]
    density = DENSITY[image.reshape(-1, 3)]
    assert not is_eosin_alone(density[density.mean(axis=1) > FAINTEST])
    pink = density * np.array([0.05, 1, 0.5], dtype=np.float32)
    assert is_eosin_alone(pink[pink.mean(axis=1) > FAINTEST])
