"""The page about large references, run as it is written."""

import re
from pathlib import Path

import numpy as np
import pytest

import bleep_sc as bs

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "large_references.md"


def test_the_page_runs_and_every_way_predicts_the_same(toy, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.chdir(tmp_path)
    adata_ref, other, query = (toy[toy.obs["library_id"] == f"slice{i}"].copy() for i in (1, 2, 3))
    config = bs.tl.FitConfig(max_epochs=2)
    bs.tl.fit(adata_ref, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    other.write_h5ad("slice2.h5ad")
    bs.tl.embed(other, adata_ref, expression=True)
    expected = bs.tl.impute(query, ref=[adata_ref, other], copy=True).layers["bleep"]
    names = {"adata_ref": adata_ref, "names": ["slice2"], "query": query}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    for number, block in enumerate(blocks):
        exec(block, names)
        if number:
            key = "quick" if number == 3 else "bleep"
            as_expected = np.isclose(np.asarray(query.layers[key]), expected, rtol=1e-4, atol=1e-4).all(axis=1)
            # FAISS computes similarities in another order: of neighbours that are equally near it may take another.
            assert as_expected.mean() >= (0.99 if key == "quick" else 1), number
    assert query.uns["bleep_imputed"]["n_reference"] == adata_ref.n_obs + other.n_obs
