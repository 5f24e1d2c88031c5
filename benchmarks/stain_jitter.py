"""An encoder trained end to end with and without stain jitter, on held-out sections as they are and stained otherwise.

EfficientNet-Lite0 is trained with the heads of BLEEP on three sections of her2st (patches of 112 px), and imputes the
fourth:
as it is, and with its haematoxylin and eosin scaled, a stand-in for another laboratory. Mean Pearson r over the 50
most variable genes of the training sections.

    python benchmarks/stain_jitter.py [--sections C3,C4] [--epochs 15]
"""

import argparse

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from lite0 import load_lite0

import bleep_sc as bs
from bleep_sc.models.stain_stats import STAINS

STRENGTHS = (0.0, 0.2)
STAININGS = {"as it is": (1.0, 1.0), "H × .75, E × 1.3": (0.75, 1.3), "H × 1.3, E × .75": (1.3, 0.75)}


def restain(patches: np.ndarray, haematoxylin: float, eosin: float) -> np.ndarray:
    """Scale the stains of patches (n, S, S, 3) uint8, in optical density."""
    stains = torch.nn.functional.normalize(torch.tensor(STAINS)).numpy()
    change = np.linalg.inv(stains) @ np.diag([haematoxylin, eosin, 1.0]) @ stains
    density = -np.log(np.maximum(patches, 1) / np.float32(255))
    return np.clip(np.rint(255 * np.exp(-density @ change.astype(np.float32))), 0, 255).astype(np.uint8)


def main() -> None:
    """Print a row for every strength, with a column for every staining."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", default="C3,C4")
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()
    adata = bs.datasets.her2st()
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=112, size_um=154)
    encoder, rows = load_lite0(), []
    for section in arguments.sections.split(","):
        is_query = adata.obs["library_id"] == section
        ref, query = adata[~is_query].copy(), adata[is_query].copy()
        bs.pp.select_genes(ref, batch_key="library_id")
        values = ref.X.toarray()
        best = bs.metrics.highest_genes(values, ref.obs["library_id"].astype(str).to_numpy(), by="variance")
        genes, patches = ref.var_names[best].tolist(), query.obsm["patches"]
        for strength in STRENGTHS:
            config = bs.tl.FitConfig(
                train_encoder=True,
                max_epochs=arguments.epochs,
                batch_size=128,
                learning_rate=3e-4,
                stain_jitter=strength,
                cross_fit=False,
            )
            bs.tl.fit(ref, encoder=encoder, config=config)
            for staining, amounts in STAININGS.items():
                query.obsm["patches"] = restain(patches, *amounts)
                bs.tl.impute(query, ref=ref, genes=genes, encoder=encoder)
                pearson = bs.metrics.pearson(query[:, genes].layers["bleep"], query[:, genes].X.toarray())
                rows.append((strength, staining, section, np.nan_to_num(pearson).mean()))
                print(*rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=["stain_jitter", "held-out stain", "section", "HVG"])
    print(table.pivot_table(values="HVG", index="stain_jitter", columns="held-out stain", sort=False).round(3))


if __name__ == "__main__":
    main()
