import errno
import os
import shutil
import signal
import subprocess
import sys

import pytest

from bleep_sc._output.disk import (
    DRAFTS,
    all_appear,
    appears,
    complete,
    draft_of,
    draft_path,
    is_complete,
    is_there,
    require_room,
)


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


def killed(path, work):
    """Let another process begin to write a folder, and be killed at it."""
    source = f"""
import os, signal
from pathlib import Path
from bleep_sc._output import disk
with disk.appears(Path({str(path)!r})) as draft:
    draft.mkdir()
    (draft / "new").touch()
    {work}
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", source]).returncode == -signal.SIGKILL


def test_what_was_there_stays_until_it_is_replaced(tmp_path):
    path = tmp_path / "folder"
    for content in ("a", "b"):
        with appears(path) as draft:
            draft.mkdir()
            (draft / content).write_text(content)
            assert names(tmp_path)[1:] == (["folder"] if content == "b" else [])
    assert names(path) == ["b"]
    with pytest.raises(KeyboardInterrupt):
        fail(path, KeyboardInterrupt())
    assert names(path) == ["b"]
    assert names(tmp_path) == ["folder"]


def test_what_a_killed_call_left_is_removed_and_nothing_of_others(tmp_path):
    foreign = [".folder.part", ".folder.old", "folder.part", f"{DRAFTS}notes"]
    for name in foreign:
        (tmp_path / name).mkdir()
    killed(tmp_path / "other", "")
    (left,) = set(names(tmp_path)) - set(foreign)
    with appears(tmp_path / "folder") as draft:
        assert left not in names(tmp_path)
        draft.mkdir()
    assert names(tmp_path) == sorted([*foreign, "folder"])
    assert names(tmp_path / "folder") == []


def test_calls_that_write_the_same_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"
    with appears(path) as one:
        one.write_text("one, half")
        with appears(path) as another:
            another.write_text("another")
        assert path.read_text() == "another"
        one.write_text("one")
    assert path.read_text() == "one"
    assert names(tmp_path) == ["file"]


def test_files_have_the_permissions_of_ordinary_ones(tmp_path):
    with appears(tmp_path / "file") as draft:
        draft.touch()
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_several_files_appear_when_all_are_there(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "c").write_text("old")
    with all_appear(tmp_path, "Make room.") as drafts:
        (drafts / "a").write_text("new")
        (drafts / "b").write_text("new")
        assert names(tmp_path)[1:] == ["a", "c"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new", "c": "old"}


def test_a_replacement_that_was_not_completed_is_undone(tmp_path, monkeypatch):
    path, replace = tmp_path / "folder", os.replace
    path.mkdir()
    (path / "old").touch()

    def in_use(source, target):
        if source.parent.name == "drafts":
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
    killed(
        path,
        "(draft.parent.parent / 'replaced').mkdir(); os.replace(draft.parent.parent.parent / 'folder', draft.parent.parent / 'replaced' / 'folder')",
    )
    assert not path.exists()  # killed between the two moves
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
    draft = draft_of(path, recipe, begun.append, "things")
    (draft / "done").touch()
    (draft / "c.0123.partial").touch()
    assert draft_of(path, recipe, begun.append, "things") == draft
    assert names(draft) == ["done", "recipe.json"]
    assert len(begun) == 1
    with pytest.raises(FileExistsError, match=r"store\.part' holds other unfinished things: slides differ"):
        draft_of(path, {**recipe, "slides": ("b", "a")}, begun.append, "things")
    assert names(draft) == ["done", "recipe.json"]
    assert not is_complete(path, recipe, "things")
    complete(path)
    assert is_complete(path, recipe, "things")
    with pytest.raises(FileExistsError, match="holds other things: slides differ"):
        is_complete(path, {**recipe, "slides": ()}, "things")


@pytest.mark.parametrize("make", [os.mkdir, lambda path: path.write_text("a thesis")])
def test_what_is_no_draft_is_never_removed(tmp_path, make):
    foreign = tmp_path / "store.part"
    make(foreign)
    with pytest.raises(
        FileExistsError, match=r"store\.part' exists and is no store of unfinished things\. Pass another"
    ):
        draft_of(tmp_path / "store", {}, lambda draft: None, "things")
    assert foreign.exists()


def test_a_file_does_not_replace_a_folder(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "kept").touch()
    with pytest.raises(IsADirectoryError, match="results' is a folder, and would be lost"), appears(folder) as draft:
        draft.write_text("one file")
    assert (folder / "kept").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_block_that_writes_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing was written"), appears(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_was_replaced_does_not_come_back_when_its_removal_is_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: None)  # killed in the middle of it
    for content in ("old", "new"):
        with appears(tmp_path / "a") as draft:
            draft.mkdir()
            (draft / content).touch()
    (tmp_path / "a" / "new").unlink()
    (tmp_path / "a").rmdir()
    monkeypatch.undo()
    with appears(tmp_path / "b") as draft:
        draft.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_drafts_of_another_machine_are_left_alone(tmp_path, monkeypatch):
    theirs = tmp_path / ".bleep_sc-elsewhere-abc"
    (theirs / "drafts").mkdir(parents=True)
    (theirs / "lock").write_bytes(b"0")
    with appears(tmp_path / "a") as draft:
        draft.touch()
    assert (theirs / "drafts").is_dir()


BETWEEN = (
    "(draft.parent.parent / 'replaced').mkdir(); "
    "os.replace(draft.parent.parent.parent / 'folder', draft.parent.parent / 'replaced' / 'folder')"
)
"""What a replacement of a folder has done between its two moves."""


def test_what_a_call_was_killed_at_replacing_is_found_again(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    killed(path, BETWEEN)
    assert not path.exists()
    assert is_there(path)
    assert names(path) == ["old"]
    assert not is_there(tmp_path / "other")


def test_what_another_machine_was_killed_at_replacing_is_found_again(tmp_path):
    theirs = tmp_path / ".bleep_sc-elsewhere-abc" / "replaced"
    (theirs / "folder").mkdir(parents=True)
    (theirs / "folder" / "old").touch()
    assert is_there(tmp_path / "folder")
    assert names(tmp_path / "folder") == ["old"]


def test_a_replacement_at_work_is_not_undone(tmp_path):
    path = tmp_path / "folder"
    with appears(path) as draft:
        replaced = draft.parent.parent / "replaced"
        (replaced / "folder").mkdir(parents=True)
        assert not is_there(path)
        draft.mkdir()


@pytest.mark.parametrize("make", [os.mkdir, lambda path: path.write_text("a thesis")])
def test_what_appeared_meanwhile_is_kept_where_nothing_is_to_be_replaced(tmp_path, make):
    path = tmp_path / "store"

    def write():
        with appears(path, replace=False) as draft:
            draft.mkdir()
            make(path)

    with pytest.raises(FileExistsError, match=r"store' has appeared meanwhile, and is kept\. Pass another path"):
        write()
    assert names(tmp_path) == ["store"]
    draft_of(tmp_path / "other", {}, lambda draft: None, "things")
    make(tmp_path / "other")
    with pytest.raises(FileExistsError, match="other' has appeared meanwhile"):
        complete(tmp_path / "other")
    assert draft_path(tmp_path / "other").is_dir()


def test_a_quota_is_a_full_disk_too(tmp_path):
    with pytest.raises(OSError, match=r"The disk is full \(Disk quota exceeded\).*make room"):
        fail(tmp_path / "file", OSError(errno.EDQUOT, "Disk quota exceeded"))


def test_a_full_disk_is_named_once(tmp_path):
    def write():
        with all_appear(tmp_path, "Outer."):
            fail(tmp_path / "file", OSError(errno.ENOSPC, "No space left on device"))

    with pytest.raises(OSError, match="The disk is full") as full:
        write()
    assert str(full.value).count("The disk is full") == 1


def test_what_a_thread_writes_after_its_call_has_failed_is_removed_by_the_next(tmp_path, monkeypatch):
    remove = shutil.rmtree

    def too_early(path, **how):
        remove(path, **how)
        (path / "late").mkdir(parents=True)

    monkeypatch.setattr("shutil.rmtree", too_early)
    with pytest.raises(ValueError, match="stop"):
        fail(tmp_path / "file", ValueError("stop"))
    monkeypatch.undo()
    assert len(names(tmp_path)) == 1
    with appears(tmp_path / "file") as draft:
        draft.touch()
    assert names(tmp_path) == ["file"]


def test_a_removal_that_was_killed_is_gone_on_with(tmp_path, monkeypatch):
    killed(tmp_path / "folder", "(draft / 'more').mkdir()")
    (left,) = tmp_path.iterdir()
    remove = shutil.rmtree

    def interrupted(path, **how):
        remove(path, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "file", KeyboardInterrupt())
    monkeypatch.undo()
    assert names(left) == ["lock"]
    (tmp_path / f"{DRAFTS}abcd_123").mkdir()  # as where a call was killed before it had a lock
    (tmp_path / f"{DRAFTS}abcd_456" / "drafts" / "late").mkdir(parents=True)  # by a thread, after all had been removed
    with appears(tmp_path / "file") as draft:
        draft.touch()
    assert names(tmp_path) == ["file"]
