"""How large the page of a slide is, and how long it takes to write: ``python benchmarks/page.py --out page.html``.

Tiles, genes and weights are generated; tissue and patches are those of the toy, turned so that none is twice there.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from anndata import AnnData
from scipy import sparse

import bleep_sc as bs
from bleep_sc._adata.records import names_hash

N_NEIGHBORS, N_DIMS = 50, 256


def reference(toy):
    """Spots of the toy in eight positions each."""
    patches = toy.obsm["patches"]
    turned = [np.rot90(part, k, (1, 2)) for part in (patches, patches[:, :, ::-1]) for k in range(4)]
    ref = AnnData(np.zeros((8 * toy.n_obs, 0), dtype=np.float32))
    ref.obs["library_id"] = [name for _ in range(8) for name in toy.obs["library_id"]]
    ref.obsm["patches"] = np.concatenate(turned)
    ref.obsm["X_bleep_expression"] = np.random.default_rng(0).normal(size=(ref.n_obs, N_DIMS)).astype(np.float32)
    return ref


def query(toy, ref, n_tiles, n_genes):
    """Tiles on a grid over two by two copies of a slide, and genes of waves of all lengths."""
    rng = np.random.default_rng(0)
    one = toy.uns["spatial"]["slice1"]["images"]["hires"]
    image = np.tile(one, (2, 2, 1))
    side = int(np.sqrt(n_tiles))
    row, column = np.divmod(np.arange(side * side), side)
    adata = AnnData(np.zeros((side * side, n_genes), dtype=np.float32))
    adata.obsm["spatial"] = np.column_stack([column, row]) * image.shape[0] * 4 / side
    phase, length = rng.uniform(0, 6, n_genes), rng.uniform(5, 50, n_genes)
    waves = np.sin(row[:, None] / length + phase) + np.cos(column[:, None] / length) + 3
    adata.layers["bleep"] = (waves + rng.normal(0, 0.2, waves.shape)).astype(np.float32)
    adata.obsm["X_bleep_image"] = rng.normal(size=(adata.n_obs, N_DIMS)).astype(np.float32)
    neighbors = rng.integers(0, ref.n_obs, (adata.n_obs, N_NEIGHBORS))
    rows = np.repeat(np.arange(adata.n_obs), N_NEIGHBORS)
    weights = sparse.coo_matrix((rng.random(rows.size), (rows, neighbors.ravel())), (adata.n_obs, ref.n_obs)).tocsr()
    adata.obsm["bleep_weights"] = sparse.diags(1 / weights.sum(axis=1).A1) @ weights
    adata.obs["bleep_confidence"], adata.obs["bleep_typicality"] = rng.random((2, adata.n_obs))
    adata.var["bleep_predicted"] = True
    adata.var["bleep_predictability"] = np.sort(rng.uniform(-0.2, 0.8, n_genes))[::-1]
    factors = {
        "tissue_hires_scalef": 0.25,
        "spot_diameter_fullres": image.shape[0] * 4 / side,
        "microns_per_pixel": 0.5,
    }
    adata.uns["spatial"] = {"slide": {"images": {"hires": image}, "scalefactors": factors}}
    adata.uns["bleep_imputed"] = {
        **{"transform": "log1p", "target_sum": 1e4, "model_hash": "generated", "predictability_of": "donors"},
        **{"reference_hash": names_hash(ref.obs_names), "params": "{}"},
    }
    return adata


def main():
    """Print size and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("page.html"))
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=200)
    arguments = parser.parse_args()
    toy = bs.datasets.toy()
    bs.pp.extract_patches(toy, size=112, size_um=112)
    ref = reference(toy)
    adata = query(toy, ref, arguments.tiles, arguments.genes)
    begun = time.perf_counter()
    view = bs.pl.viewer(adata, ref=ref)
    seconds = time.perf_counter() - begun
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    alone = arguments.out.with_stem(f"{arguments.out.stem}_view")
    alone.write_text(file_html(view, INLINE, "view"), encoding="utf-8")
    print(f"view with {ref.n_obs:,} reference spots: {seconds:.1f} s, {alone.stat().st_size / 1e6:.1f} MB")
    begun = time.perf_counter()
    bs.io.write_page(adata, arguments.out)
    seconds = time.perf_counter() - begun
    print(f"page without reference: {seconds:.1f} s, {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
