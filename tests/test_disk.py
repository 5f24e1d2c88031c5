import errno

import pytest

from bleep_sc._disk import appears, draft_of, is_complete


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(path, error):
    with appears(path) as draft:
        draft.write_text("half of it")
        raise error


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file"
    with appears(path) as draft:
        draft.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert names(path.parent) == ["file"]


def test_what_was_there_stays_until_it_is_replaced(tmp_path):
    path = tmp_path / "folder"
    for content in ("a", "b"):
        with appears(path) as draft:
            draft.mkdir()
            (draft / content).write_text(content)
            assert names(tmp_path) == [".folder.part", *(["folder"] if content == "b" else [])]
    assert names(path) == ["b"]
    with pytest.raises(KeyboardInterrupt):
        fail(path, KeyboardInterrupt())
    assert names(path) == ["b"]
    assert names(tmp_path) == ["folder"]


def test_what_a_killed_call_left_is_removed(tmp_path):
    for name in (".folder.part", ".folder.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("of it")
    with appears(tmp_path / "folder") as draft:
        assert names(tmp_path) == []
        draft.mkdir()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == []


def test_a_full_disk_is_named_and_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(
        OSError, match=r"The disk is full \(No space left on device\)\. Nothing was written to .*file.*make room"
    ) as full:
        fail(tmp_path / "file", OSError(errno.ENOSPC, "No space left on device"))
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="Permission denied"):
        fail(tmp_path / "file", OSError(errno.EACCES, "Permission denied"))
    assert names(tmp_path) == []


def test_a_draft_of_the_same_recipe_is_gone_on_with_and_no_other(tmp_path):
    path, recipe, begun = tmp_path / "store", {"size_um": float("nan"), "slides": ("a", "b")}, []
    draft = draft_of(path, recipe, begun.append)
    (draft / "done").touch()
    (draft / "c.0123.partial").touch()
    assert draft_of(path, recipe, begun.append) == draft
    assert names(draft) == ["done", "recipe.json"]
    assert begun == [draft]
    draft_of(path, {**recipe, "slides": ("b", "a")}, begun.append)
    assert names(draft) == ["recipe.json"]
    (draft / "recipe.json").unlink()  # killed while it was begun
    draft_of(path, recipe, begun.append)
    assert len(begun) == 3
    assert not is_complete(path, recipe, "things")
    draft.rename(path)
    assert is_complete(path, recipe, "things")
    with pytest.raises(FileExistsError, match="holds other things: slides differ"):
        is_complete(path, {**recipe, "slides": ()}, "things")
