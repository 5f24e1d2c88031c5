"""What stands at the boundary: expression that is not in memory, or that points outside itself."""

import re

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import bleep_sc as bs
from bleep_sc._adata.checks import ON_TISSUE, off_tissue, warn_of_glass

QUICK = bs.tl.FitConfig(max_epochs=1, n_dims=8, views=("scaled",), cross_fit=False)
QUIET = {"use_rep": "X_stain_stats", "show_progress_bar": False}
CALLS = {
    "select_genes": lambda a: bs.pp.select_genes(a, batch_key="library_id"),
    "batch_correct": lambda a: bs.pp.batch_correct(a, batch_key="library_id"),
    "fit": lambda a: bs.tl.fit(a, config=QUICK, **QUIET),
    "fit_ridge": lambda a: bs.tl.fit_ridge(a, use_rep="X_stain_stats"),
    "fit_stnet": lambda a: bs.tl.fit_stnet(a, **QUIET),
    "cross_validate": lambda a: bs.bm.cross_validate(a, bs.bm.methods(["mean"]), group_key="library_id"),
    "spatial": lambda a: bs.pl.spatial(a, "CYP3A4"),
}


def in_sparse_blocks(matrix):
    """As anndata and scanpy hold what is larger than the memory."""
    return da.from_array(matrix.toarray(), chunks=(100, -1)).map_blocks(sparse.csr_matrix)


@pytest.mark.parametrize("name", CALLS)
def test_sparse_blocks_of_dask_are_to_be_loaded(reference, name):
    counts = name == "cross_validate"
    reference.X = in_sparse_blocks(reference.layers["counts"] if counts else reference.X)
    with pytest.raises(ValueError, match=r"adata.X is a dask array of sparse blocks.*adata.X = adata.X.compute\(\)"):
        CALLS[name](reference)
    reference.X = reference.X.compute()  # as the message says
    CALLS[name](reference)


def test_what_is_read_in_parts_works_as_it_is(fitted, query):
    expected = bs.tl.impute(query, ref=fitted, copy=True)
    lazy, lazy_query = fitted.copy(), query.copy()
    lazy.X, lazy_query.X = in_sparse_blocks(fitted.X), in_sparse_blocks(query.X)
    bs.tl.impute(lazy_query, ref=lazy)
    np.testing.assert_allclose(lazy_query.layers["bleep"], expected.layers["bleep"], atol=1e-4)
    with pytest.raises(ValueError, match=r"adata\.X is a dask array of sparse blocks"):
        bs.tl.score(lazy_query, "bleep")
    with pytest.raises(ValueError, match=r"adata\.X is a dask array of sparse blocks"):
        bs.tl.embed(lazy_query, fitted, expression=True)


@pytest.mark.parametrize("kind", [None, "category"])
@pytest.mark.parametrize(
    ("values", "off"),
    [
        ([1, 0, 1], "b"),
        ([1.0, 0.0, np.nan], "b"),
        ([True, False, True], "b"),
        (["1", "0", "1"], "b"),
        (["true", "False", "FALSE"], "bc"),
        (["true", "1", None], ""),
    ],
)
def test_in_tissue_is_read_in_one_way_whatever_holds_it(values, off, kind):
    """And what leaves spots off tissue out works for all of them."""
    adata = AnnData(obs=pd.DataFrame({"in_tissue": pd.Series(values, dtype=kind, index=list("abc"))}))
    assert "".join(adata.obs_names[off_tissue(adata)]) == off
    if off:
        with pytest.warns(UserWarning, match=rf"{len(off)} of 3 spots are off tissue .*{re.escape(ON_TISSUE)}"):
            warn_of_glass(adata)
    there = {"adata": adata}
    exec(ON_TISSUE, there)
    assert "".join(there["adata"].obs_names) == "".join(name for name in "abc" if name not in off)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix])
def test_a_sparse_matrix_that_points_outside_itself_is_refused(reference, form):
    """Else the process ends, or the memory beside it is read."""
    reference.X = form(reference.X)
    reference.X.indices[7] = 10**6
    with pytest.raises(ValueError, match=r"adata.X is damaged: its sparse matrix has values at 0 to 1000000, of \d+"):
        bs.tl.fit(reference, config=QUICK, **QUIET)
    reference.X.indices[7] = 0
    reference.X.indptr[3] = 10**6
    with pytest.raises(ValueError, match=r"adata\.X is damaged: the rows of its sparse matrix begin and end nowhere"):
        bs.pp.select_genes(reference)
