import numpy as np
import pytest
from scipy import sparse

from bleep_sc._adata.depth import Depth, depths_of, evenly, shallow_slides, slide_depth, warn_of_shallow_slides


def logs(counts, target_sum=1e4):
    return np.log1p(target_sum * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def counts():
    random = np.random.default_rng(0)
    return random.poisson(np.exp(random.normal(0, 1.5, 400)) * random.uniform(0.5, 2, (60, 1)))


@pytest.mark.parametrize("target_sum", [100, 1e4, 1e6])
def test_the_counts_are_those_before_spots_were_normalised(counts, target_sum):
    for matrix in (logs(counts, target_sum), sparse.csr_matrix(logs(counts, target_sum))):
        found = slide_depth(matrix, 60)
        assert found.counts == pytest.approx(np.median(counts.sum(axis=1)), rel=1e-3)
        assert found.genes == np.median((counts > 0).sum(axis=1))


def test_half_precision_has_the_depth_of_its_values(counts):
    half = logs(counts[:, :40]).astype(np.float16)
    assert slide_depth(half, 60) == slide_depth(half.astype(np.float32), 60)


def test_many_shallow_slides_are_described_by_their_range():
    depths = {f"s{i}": Depth(100.0 + i, 50.0, 10) for i in range(8)} | {"deep": Depth(9000.0, 800.0, 100)}
    with pytest.warns(
        UserWarning, match=r"detected in a spot, 50 \(100 to 107 counts\), than on .* 800 \(9,000 counts"
    ):
        warn_of_shallow_slides(depths, [f"s{i}" for i in range(8)], "So.")


def test_what_is_no_scaled_count_has_no_depth(counts):
    smooth = logs(counts) @ np.full((400, 400), 1 / 400, dtype=np.float32) + logs(counts)
    assert np.isnan(slide_depth(smooth, 60).counts)
    assert np.isnan(slide_depth(-logs(counts), 60).counts)
    assert slide_depth(np.zeros((5, 4)), 5).genes == 0
    assert shallow_slides({"a": slide_depth(smooth, 60), "b": slide_depth(logs(counts), 60)}) == []


def test_a_slide_is_shallow_beside_the_deeper_ones_that_hold_two_fifths_of_the_spots():
    def shallow(**slides):
        return shallow_slides({name: Depth(counts, 100.0, n) for name, (counts, n) in slides.items()})

    assert shallow(a=(1000, 100), b=(150, 100)) == ["b"]
    assert shallow(a=(1000, 100), b=(250, 100)) == []
    assert shallow(a=(1000, 100), b=(150, 104)) == ["b"]
    assert shallow(a=(1000, 200), b=(90, 100), c=(80, 100)) == ["b", "c"]
    assert shallow(a=(1000, 100), b=(90, 100), c=(80, 100)) == []
    frozen, fixed = (
        {f"{kind}{i}": (depth, 3000) for i in range(n)} for kind, depth, n in [("a", 2e4, 3), ("b", 3900, 9)]
    )
    assert shallow(**frozen, **fixed) == []  # most of a cohort is not left out for a few that are deeper
    assert shallow(**{f"c{i}": (2e4, 3000) for i in range(6)}, **frozen, b=(3900, 3000)) == ["b"]
    assert shallow(a=(1000, 100), b=(90, 900)) == []  # one small slide that is deeper makes the others no worse
    assert shallow(a=(1000, 100), b=(np.nan, 100)) == []
    assert shallow() == []


def test_slides_are_told_apart_by_some_of_their_spots(counts):
    slides = np.repeat(["a", "b"], 30)
    thinned = counts.copy()
    thinned[30:] = np.random.default_rng(1).binomial(counts[30:], 0.1)
    matrix = logs(thinned)
    depths = depths_of(slides, lambda rows: matrix[evenly(rows)])
    assert {name: each.n_spots for name, each in depths.items()} == {"a": 30, "b": 30}
    assert shallow_slides(depths) == ["b"]
