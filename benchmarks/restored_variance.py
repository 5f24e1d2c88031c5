"""What tl.restore_variance does to predictions of real tissue: her2st C4 from C2, C3 and C5.

Stain statistics, the default preset; the genes that were chosen on the reference. Pearson r over the 50 most variable
genes of the truth.

    python benchmarks/restored_variance.py
"""

import numpy as np
import pandas as pd
from her2st import prepare, split

import bleep_sc as bs

HELD_OUT, USE_REP = "C4", "X_stain_stats"


def main() -> None:
    """Print a row before and one after."""
    ref, query, genes = split(prepare(encoders={USE_REP: "stain_stats"}), HELD_OUT)
    bs.tl.fit(ref, use_rep=USE_REP, show_progress_bar=False)
    bs.tl.impute(query, ref=ref, genes=genes)
    bs.tl.restore_variance(query, ref)
    truth = query[:, genes].X.toarray()
    best = bs.metrics.highest_genes(truth, np.zeros(len(truth), dtype=str), by="variance")
    rows = {}
    for layer in ("bleep", "bleep_restored"):
        values = query[:, genes].layers[layer]
        pearson = np.nan_to_num(bs.metrics.pearson(values, truth))
        rows[layer] = {
            "relative variance distance": bs.metrics.relative_variance_distance(values, truth),
            "the same, HVG": bs.metrics.relative_variance_distance(values[:, best], truth[:, best]),
            "HVG": pearson[best].mean(),
            "all": pearson.mean(),
            "RMSE": np.nanmean(bs.metrics.rmse(values, truth)),
            "RMSE, HVG": np.nanmean(bs.metrics.rmse(values[:, best], truth[:, best])),
            "values at 0": np.mean(values <= 0),
        }
    print(pd.DataFrame(rows).T.to_string(float_format="{:.4f}".format))


if __name__ == "__main__":
    main()
