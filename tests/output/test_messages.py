import pytest

import bleep_sc as bs


def test_a_warning_points_at_the_line_that_called_the_package(toy):
    with pytest.warns(UserWarning, match="enlarged") as said:
        bs.pp.extract_patches(toy, size=224, size_um=20)
    assert {each.filename for each in said} == {__file__}
