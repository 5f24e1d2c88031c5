import json

import pytest

from bleep_sc._output.damage import DamagedError, damaged, from_json, undamaged


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "1", "null", "[]", '"x"', "9" * 5000, '{"a":' * 10**5, b"\xff", None, 3.0]
)
def test_what_is_no_json_of_named_values_is_damaged(text):
    with pytest.raises(DamagedError, match=r"^uns\['bleep'\] is damaged: recipe .*Copy it again"):
        from_json(text, "uns['bleep']", "recipe")


def test_json_is_read_as_it_was_written():
    content = {"a": [1, 2.5, None, True], "b": {"c": "µm"}, "d": float("inf")}
    assert from_json(json.dumps(content), "x", "y") == content


def test_errors_of_others_become_ours_once():
    for error in (KeyError("a"), RecursionError("deep"), ZeroDivisionError()):
        with (
            pytest.raises(DamagedError, match=rf"x is damaged: y cannot be read \({type(error).__name__}"),
            undamaged("x", "y"),
        ):
            raise error
    with pytest.raises(DamagedError, match=r"^inner is damaged: broken"), undamaged("outer", "y"):
        raise damaged("inner", "broken")
    for sound in (FileNotFoundError, PermissionError, BlockingIOError, MemoryError):
        with pytest.raises(sound, match=r"^as it is$"), undamaged("x", "y", Exception):
            raise sound("as it is")
    with pytest.raises(KeyboardInterrupt), undamaged("x", "y"):
        raise KeyboardInterrupt
