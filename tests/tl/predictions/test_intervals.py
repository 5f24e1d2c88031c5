from types import SimpleNamespace

import pytest

from bleep_sc.tl._predictions.intervals import check_interval


def test_ends_that_few_spots_do_not_show_are_refused():
    description = SimpleNamespace(params={"layer": None, "target_rep": None}, slides={"a": 20, "b": 18})
    model = SimpleNamespace(calibration=object(), description=description, basis="slides")
    how = {"store": None, "layer": None, "target_rep": None}
    check_interval(0.9, model, **how)
    with pytest.raises(ValueError, match=r"interval=0.99 leaves less than one of the 38 spots .* at most 0.95"):
        check_interval(0.99, model, **how)
