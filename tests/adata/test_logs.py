import math

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

from bleep_sc._adata import logs
from bleep_sc._adata.expression import require_one_unit, units

COUNTS = np.random.default_rng(0).poisson(3, size=(40, 30)).astype(np.float32)


def normalised(total=1e4, base=None, form=np.asarray):
    adata = ad.AnnData(form(COUNTS.copy()))
    sc.pp.normalize_total(adata, target_sum=total)
    sc.pp.log1p(adata, base=base)
    return adata


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize(
    ("total", "base", "transform"),
    [
        (1e4, None, "log1p"),
        (1e6, None, "log1p"),
        (1e4, 2, "log2(1+x)"),
        (1e6, 10, "log10(1+x)"),
        (1e4, math.e, "log1p"),
    ],
)
def test_base_and_total_are_found(total, base, transform, noted, form):
    adata = normalised(total, base, form)
    if not noted:
        del adata.uns["log1p"]
    found = units(adata, None)
    assert found == {"transform": transform, "target_sum": pytest.approx(total, rel=1e-3), "corrected": False}
    assert logs.base_of(found["transform"]) == pytest.approx(base or math.e)


def test_the_noted_base_counts_where_totals_tell_nothing():
    some = normalised(1e4, 2)[:, :20].copy()
    assert units(some, None) == {"transform": "log2(1+x)", "target_sum": 0.0, "corrected": False}
    stale = normalised(1e4)
    stale.uns["log1p"] = {"base": 2.0}  # of an earlier X
    assert units(stale, None)["transform"] == "log1p"
    for wrong in (1.0, 0, -2, math.nan, math.inf):
        some.uns["log1p"] = {"base": wrong}
        with pytest.raises(ValueError, match=r"uns\['log1p'\] says base=.*no base of logarithms"):
            units(some, None)
    some.uns["log1p"] = {"base": "two"}
    with pytest.raises(ValueError, match=r"uns\['log1p'\] is damaged: base cannot be read"):
        units(some, None)


@pytest.mark.parametrize("base", [2, 10])
def test_what_is_presumed_counts_where_nothing_is_noted_and_totals_tell_nothing(base):
    whole = normalised(1e4, base)
    some = whole[:, :20].copy()
    assert units(some, None, presumed="log1p")["transform"] == f"log{base}(1+x)"  # it is noted
    del whole.uns["log1p"], some.uns["log1p"]
    assert units(some, None)["transform"] == "log1p"
    assert units(some, None, presumed=f"log{base}(1+x)")["transform"] == f"log{base}(1+x)"
    assert units(whole, None, presumed="log1p")["transform"] == f"log{base}(1+x)"  # the total tells it


def test_some_spots_tell_the_base(monkeypatch):
    looked_at, totals = [], logs.linear_totals
    monkeypatch.setattr(logs, "N_TOLD_BY", 7)
    monkeypatch.setattr(logs, "linear_totals", lambda matrix, base: looked_at.append(matrix) or totals(matrix, base))
    assert logs.base_and_total(normalised(1e4, 10).X, None) == (10.0, 1e4)
    assert {each.shape for each in looked_at} == {(7, 30)}


@pytest.mark.parametrize(
    "name", ["logx(1+x)", "log-1(1+x)", "log1(1+x)", "log0.5(1+x)", "log(1+x)", "loginf(1+x)", "log2"]
)
def test_what_is_called_by_no_base_is_no_logarithm(name):
    assert logs.base_of(name) is None


def test_every_base_is_known_by_its_name():
    for base in (1.5, 2.0, 7.0, 10.0, 1e7, math.e):
        assert logs.base_of(logs.transform_of(base)) == base


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(("total", "base"), [(1e6, None), (1e4, 2), (1e6, 10)])
def test_conversion_is_exact(total, base, form):
    wanted = normalised(1e4, None, form)
    other = normalised(total, base, form)
    result = logs.converted(other.X, units(other, None), units(wanted, None))
    assert sparse.issparse(result) == sparse.issparse(other.X)
    dense = [each.toarray() if sparse.issparse(each) else each for each in (result, wanted.X)]
    np.testing.assert_allclose(*dense, rtol=1e-4, atol=1e-5)
    assert dense[0].dtype == np.float32


def test_slides_in_one_anndata_mean_the_same():
    slides = np.repeat(["a", "b"], 40)
    for other, meant in ((normalised(1e4, 2), r"log2\(1\+x\)"), (ad.AnnData(COUNTS.copy()), "counts")):
        both = ad.concat([normalised(), other], index_unique="-")
        both.uns["log1p"] = {"base": None}
        with pytest.raises(ValueError, match=rf"slide 'a' holds logarithms of .*, slide 'b' holds .*{meant}.*once"):
            require_one_unit(both, None, slides)
    require_one_unit(ad.concat([normalised(), normalised()], index_unique="-"), None, slides)
    with pytest.warns(UserWarning, match=r"not normalised alike .*a 1e\+04, b 1.2e\+04"):
        require_one_unit(ad.concat([normalised(), normalised(1.2e4)], index_unique="-"), None, slides)
