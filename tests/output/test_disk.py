import errno
import os

import pytest

from bleep_sc._output.disk import appears, draft_of, is_complete, require_room


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
    (tmp_path / ".folder.part").mkdir()
    (tmp_path / ".folder.part" / "half").write_text("of it")
    with appears(tmp_path / "folder") as draft:
        assert names(tmp_path) == []
        draft.mkdir()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == []


def test_a_replacement_that_was_not_completed_is_undone(tmp_path, monkeypatch):
    path, replace = tmp_path / "folder", os.replace
    path.mkdir()
    (path / "old").touch()

    def in_use(source, target):
        if source.name == ".folder.part":
            raise PermissionError(errno.EACCES, "in use")
        replace(source, target)

    def write():
        with appears(path) as draft:
            draft.mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", in_use)
        with pytest.raises(PermissionError, match="in use"):
            write()
    assert names(path) == ["old"]
    path.rename(tmp_path / ".folder.old")  # killed between the two moves
    with pytest.raises(KeyboardInterrupt):
        fail(path, KeyboardInterrupt())
    assert names(path) == ["old"]
    write()
    assert names(path) == []
    assert names(tmp_path) == ["folder"]


def test_where_a_link_leads_is_written_to(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch", target_is_directory=True)
    for content in ("a", "b"):
        with appears(tmp_path / "link") as draft:
            draft.mkdir()
            (draft / content).touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "scratch") == ["b"]
    assert names(tmp_path) == ["link", "scratch"]


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path):
    require_room(tmp_path, 1, "A byte")
    with pytest.raises(OSError, match=r"A yottabyte takes some [\d,]+ MiB, and [\d,]+ are free") as full:
        require_room(tmp_path, 2**80, "A yottabyte")
    assert full.value.errno == errno.ENOSPC


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
