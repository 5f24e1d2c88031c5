"""Commands that work on one slide after another."""

import gc
import weakref

import click
import pytest

from bleep_sc.cli._processes import work_through


class Held:
    """What holds itself, as figures and tables do: it goes when Python looks for such, and not before."""

    def __init__(self):
        self.itself = self


@pytest.fixture
def _seldom():
    """Python looks seldom: a slide has few objects, each of them large."""
    before = gc.get_threshold()
    gc.set_threshold(10**6)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_seldom")
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_slide_is_left_when_the_next_one_begins(fails):
    left, found = [], []

    def work(i):
        found.append([reference() for reference in left])
        held = Held()
        left.append(weakref.ref(held))
        if fails:
            raise ValueError("a slide that fails")

    def worked():
        work_through(["a", "b", "c"], work, lambda i: False)

    if fails:
        with pytest.raises(click.ClickException, match="3 of 3 slides failed: a, b, c"):
            worked()
    else:
        worked()
    assert found == [[], [None], [None, None]]
