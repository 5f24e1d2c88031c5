"""The page about comparing conditions, run as it is written."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import bleep_sc as bs

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "compare_conditions.md"


def test_the_page_runs_and_its_tests_are_of_samples(fitted, query):
    query.obs["donor"] = [f"d{i % 6}" for i in range(query.n_obs)]
    query.obs["condition"] = np.where(query.obs["donor"].isin(["d0", "d1", "d2"]), "ill", "well")
    lost = (query.obs["condition"] == "ill") & (query.obs["zonation"] < 0.3)
    adata = query[~lost].copy()
    bs.tl.impute(adata, ref=fitted)
    names = {"adata": adata, "adata_ref": fitted}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, names)

    table = names["table"]
    ill, well = (
        [adata[adata.obs["donor"] == f"d{i}", "CYP3A4"].layers["bleep"].mean() for i in which]
        for which in ((0, 1, 2), (3, 4, 5))
    )
    assert table.loc["CYP3A4", "difference"] == pytest.approx(np.mean(ill) - np.mean(well), rel=1e-4)
    assert table.loc["CYP3A4", "p"] == pytest.approx(stats.ttest_ind(ill, well).pvalue, rel=1e-3)
    assert table.loc["CYP3A4", "q"] < 0.05
    assert table.loc["CYP3A4", "difference"] > 0
    assert (table["lower"] < table["upper"]).all()
    assert (table["p, measured"] > table["p"]).mean() > 0.8  # it knows more of what can be wrong
    assert (table["predictability"] >= 0.2).all()
