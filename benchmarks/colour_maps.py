"""Which colours can be told from H&E: how far maps of matplotlib are from the pixels under the spots of real slides.

Distances are CIEDE2000 between 32 colours of a map and 1500 pixels. Printed are, for every slide, how near the nearest
twentieth of the tissue comes to the colour that it comes nearest to (about 10 is hard to tell on a small spot), and how
far apart the ends of a map are when its steps are added up.

    BLEEP_SC_DATA=... python benchmarks/colour_maps.py
"""

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import colormaps
from skimage.color import deltaE_ciede2000, rgb2lab

import bleep_sc as bs

MAPS = (
    *("viridis", "cividis", "plasma", "magma", "inferno", "turbo", "YlGnBu", "YlGn", "YlOrRd", "YlOrBr"),
    *("Blues", "Greens", "summer", "Wistia"),
)
N_PIXELS, N_COLORS, SPOT_SHARE = 1500, 32, 0.25


def pixels_under_spots(adata: AnnData) -> np.ndarray:
    """Return pixels around the centres of the spots of a slide, in CIELAB, (N_PIXELS, 3)."""
    random = np.random.default_rng(0)
    (record,) = adata.uns["spatial"].values()
    image, factors = record["images"]["hires"], record["scalefactors"]
    scale = factors["tissue_hires_scalef"]
    spread = SPOT_SHARE * factors["spot_diameter_fullres"] * scale
    chosen = random.integers(0, adata.n_obs, N_PIXELS)
    x, y = (adata.obsm["spatial"][chosen] * scale + random.normal(0, spread, (N_PIXELS, 2))).astype(int).T
    rows, columns = np.clip(y, 0, image.shape[0] - 1), np.clip(x, 0, image.shape[1] - 1)
    return rgb2lab(image[None, rows, columns, :3] / 255)[0]


def nearest(name: str, pixels: np.ndarray) -> float:
    """Return how near the nearest twentieth of the pixels comes to a colour of a map, at least."""
    return float(np.quantile(deltaE_ciede2000(colors(name)[:, None], pixels[None]), 0.05, axis=1).min())


def colors(name: str) -> np.ndarray:
    """Return colours of a map, in CIELAB."""
    return rgb2lab(colormaps[name](np.linspace(0, 1, N_COLORS))[None, :, :3])[0]


def main() -> None:
    """Print a row for every map, the one that is told best first."""
    slides = {"her2st C3": bs.datasets.her2st(sections="C3"), "MOB1": bs.datasets.mob(sections="MOB1")}
    pixels = {name: pixels_under_spots(adata) for name, adata in slides.items()}
    table = pd.DataFrame({name: {each: nearest(each, of) for each in MAPS} for name, of in pixels.items()})
    table["length"] = [float(deltaE_ciede2000(colors(each)[1:], colors(each)[:-1]).sum()) for each in MAPS]
    print(table.loc[table[list(slides)].min(axis=1).sort_values(ascending=False).index].round(1).to_string())


if __name__ == "__main__":
    main()
