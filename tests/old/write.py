"""Write what the version that is installed leaves of a reference and of a prediction, for the tests of later ones.

    python tests/old/write.py tests/old/0.2.0  # and .tar.xz

A few spots of toy tissue: the reference as ``tl.fit`` and ``tl.fit_ridge`` leave it, the same as ``tl.share_reference``
writes it, and a slide that was imputed from it.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import scanpy as sc

import bleep_sc as bs

EVERY, N_GENES = 8, 12


def main() -> None:
    """Write them into an archive."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        shutil.make_archive(sys.argv[1], "xztar", folder)


def write(folder: Path) -> None:
    """Write all of it into a folder."""
    adata = bs.datasets.toy(n_slices=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata = adata[::EVERY, :N_GENES].copy()
    bs.pp.extract_patches(adata, size=56, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    del adata.obsm["patches"]
    for library in adata.uns["spatial"].values():
        library["images"] = {}
    is_query = adata.obs["library_id"] == "slice3"
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    config = bs.tl.FitConfig(n_dims=4, max_epochs=2)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.fit_ridge(ref, use_rep="X_stain_stats")
    bs.tl.impute(query, ref=ref, interval=0.9)
    bs.tl.predict(query, ref=ref, key="ridge")
    ref.write_h5ad(folder / "reference.h5ad", compression="gzip")
    query.write_h5ad(folder / "prediction.h5ad", compression="gzip")
    bs.tl.share_reference(ref, folder / "shared")


if __name__ == "__main__":
    main()
