import errno
import pickle

import numpy as np
import pytest

from bleep_sc.slides import _store as store_module
from bleep_sc.slides._lazy import StoredPatches
from bleep_sc.slides._store import write_store

N, SIZE = 600, 4


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)


def batches(patches, done, size=70):
    for start in range(done, len(patches), size):
        yield patches[start : start + size]


def write(path, patches, recipe="a", cut=None):
    cut = cut or (lambda done: batches(patches, done))
    write_store(path, cut, n=len(patches), size=SIZE, recipe={"of": recipe})


def read(path, rows):
    return StoredPatches((str(path),), np.zeros(len(rows), dtype=int), np.asarray(rows))


def test_what_was_written_is_read_in_any_order(patches, tmp_path):
    write(tmp_path / "s.zarr", patches)
    assert not (tmp_path / "s.zarr.part").exists()
    rows = np.random.default_rng(1).permutation(N)
    stored = read(tmp_path / "s.zarr", rows)
    assert stored.shape == (N, SIZE, SIZE, 3)
    np.testing.assert_array_equal(np.asarray(stored), patches[rows])
    some = np.array([5, 5, 300, 2, 301])
    np.testing.assert_array_equal(stored[some], patches[rows[some]])
    mask = rows % 3 == 0
    np.testing.assert_array_equal(stored.take(mask)[2:9], patches[rows[mask]][2:9])
    seen = np.empty_like(patches)
    for positions, batch in stored.batches(64):
        seen[positions] = batch
    np.testing.assert_array_equal(seen, patches[rows])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored))[:3], patches[rows[:3]])


def test_an_interrupted_call_goes_on_and_is_never_taken_for_complete(patches, tmp_path):
    def interrupted(done):
        yield from batches(patches[:500], done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s.zarr", patches, cut=interrupted)
    assert not (tmp_path / "s.zarr").exists()
    with pytest.raises(FileNotFoundError, match=r"No store of patches at .*s\.zarr"):
        np.asarray(read(tmp_path / "s.zarr", [0]))
    asked = []

    def rest(done):
        asked.append(done)
        yield from batches(patches, done)

    write(tmp_path / "s.zarr", patches, cut=rest)
    assert asked == [256]
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "s.zarr", np.arange(N))), patches)
    write(tmp_path / "s.zarr", patches, cut=lambda done: pytest.fail("it is complete"))


def test_a_file_that_was_half_written_is_written_again(patches, tmp_path):
    def interrupted(done):
        yield from batches(patches[:500], done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s.zarr", patches, cut=interrupted)
    shards = sorted((tmp_path / "s.zarr.part" / "patches" / "c").rglob("0"))
    for shard in shards:
        if shard.is_file():
            shard.with_name("1").write_bytes(b"half")
    progress = tmp_path / "s.zarr.part" / "progress.json"
    progress.write_text('{"done": 0}')
    write(tmp_path / "s.zarr", patches)
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "s.zarr", np.arange(N))), patches)


def test_other_patches_are_never_taken_for_these(patches, tmp_path):
    write(tmp_path / "s.zarr", patches)
    with pytest.raises(FileExistsError, match=r"holds other patches: of differ\. Pass another path"):
        write(tmp_path / "s.zarr", patches, recipe="b")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="is no store of patches"):
        write(tmp_path / "folder", patches)
    with pytest.raises(RuntimeError, match="300 of 600"):
        write(tmp_path / "t.zarr", patches, cut=lambda done: batches(patches[:300], done))
    with pytest.raises(
        FileExistsError, match=r"t\.zarr\.part' holds other unfinished patches: of differ\. Pass another"
    ):
        write(tmp_path / "t.zarr", patches, recipe="b")  # neither gone on from nor lost
    write(tmp_path / "t.zarr", patches)
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "t.zarr", np.arange(N))), patches)


def test_a_full_disk_is_said_and_nothing_is_lost(patches, tmp_path, monkeypatch):
    write_json, full = store_module.write_json, [False]

    def failing(file, content):
        if full[0] and file.name == "progress.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        full[0] = file.name == "progress.json"
        write_json(file, content)

    monkeypatch.setattr(store_module, "write_json", failing)
    with pytest.raises(
        OSError,
        match=r"The disk is full \(No space left on device\)\. 512 of 600 patches are kept in .*make room.*call again",
    ):
        write(tmp_path / "s.zarr", patches)
    monkeypatch.undo()
    write(tmp_path / "s.zarr", patches)
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "s.zarr", np.arange(N))), patches)
