"""What pp.tile_slide leaves out: tissue that is taken for glass, and what blur does to the measure of sharpness.

Tissue: the share of the measured spots of real sections that lie on what is taken for tissue. Sharpness: of the patches
of her2st C4 at 1 µm per px, as it is and after Gaussian blurs.

    python benchmarks/tissue.py
"""

import numpy as np
from scipy import ndimage

import bleep_sc as bs
from bleep_sc.pp._tile_slide import THUMBNAIL
from bleep_sc.pp._tissue import tissue_mask

BLURS_UM = (0, 1, 2, 4, 8)


def main() -> None:
    """Print both tables."""
    for name in ("C2", "C3", "C4", "C5", "MOB1", "MOB2", "MOB3"):
        adata = bs.datasets.her2st(name) if name.startswith("C") else bs.datasets.mob(name)
        with bs.slides.open_slide(adata.uns["spatial"][name]["metadata"]["source_image_path"]) as slide:
            thumbnail = slide.thumbnail(THUMBNAIL)
            shrink = thumbnail.shape[1] / slide.width
        mask = tissue_mask(thumbnail)
        x, y = (adata.obsm["spatial"] * shrink).astype(int).T
        print(f"{name}: {mask[y, x].mean():.3f} of {adata.n_obs} spots on tissue, {mask.mean():.3f} of the slide")
    adata = bs.datasets.her2st("C4")
    library = adata.uns["spatial"]["C4"]
    mpp = library["scalefactors"]["microns_per_pixel"]
    with bs.slides.open_slide(library["metadata"]["source_image_path"]) as slide:
        image = slide.read_region(0, 0, slide.width, slide.height)
    for blur in BLURS_UM:
        blurred = image if blur == 0 else ndimage.gaussian_filter(image, (blur / mpp, blur / mpp, 0), truncate=3)
        patches = bs.slides.cut_patches(
            bs.slides.open_slide(blurred), adata.obsm["spatial"], side=round(100 / mpp), size=100
        )
        low, middle, high = np.quantile(bs.slides.sharpness(patches), [0.01, 0.5, 0.99])
        print(f"blur of {blur} µm: sharpness {middle:.3f}, 98 % of the spots between {low:.3f} and {high:.3f}")


if __name__ == "__main__":
    main()
