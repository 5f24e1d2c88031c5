import threading

import pytest

from bleep_sc._arrays.ahead import ahead


def test_one_item_is_made_while_the_last_one_is_worked_on_and_no_more():
    made, second = [], threading.Event()

    def items():
        for i in range(5):
            made.append((i, threading.current_thread()))
            if i == 1:
                second.set()
            yield i

    given = ahead(items())
    assert next(given) == 0
    assert second.wait(10)  # while nothing is asked for
    given.close()
    assert [i for i, _ in made] == [0, 1]
    assert threading.main_thread() not in [thread for _, thread in made]


def test_all_items_come_in_their_order():
    assert list(ahead(iter([3, 0, None, 1]))) == [3, 0, None, 1]
    assert list(ahead(iter([]))) == []


def test_an_error_comes_in_its_turn():
    def items():
        yield 1
        raise OSError("the slide ends here")

    given = ahead(items())
    assert next(given) == 1
    with pytest.raises(OSError, match="the slide ends here"):
        next(given)
