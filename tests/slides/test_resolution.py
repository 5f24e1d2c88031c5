import numpy as np
import pytest

from bleep_sc.slides._resolution import from_dpi


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.49, 0.51), (0.05, 0.05), (20.0, 20.0)])
def test_the_resolution_is_the_mean_of_both_directions(x, y):
    mpp, source = from_dpi((25400 / x, 25400 / y))
    assert mpp == pytest.approx((x + y) / 2)
    assert source == "dots per inch of the file"


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (0.049, 0.05, "no microscope's"),
        (20.0, 20.1, "no microscope's"),
        (0.5, 0.53, "not square"),
        (0.53, 0.5, "not square"),
    ],
)
def test_what_no_slide_can_have_is_not_taken(x, y, reason):
    mpp, source = from_dpi((25400 / x, 25400 / y))
    assert np.isnan(mpp)
    assert reason in source


@pytest.mark.parametrize("dpi", [None, (0, 300), ("a", 300), (300,)])
def test_no_statement_is_no_resolution(dpi):
    mpp, source = from_dpi(dpi)
    assert np.isnan(mpp)
    assert source == "the file does not say"
