import sys

import h5py
import numpy as np
import pytest
from anndata import AnnData
from click.testing import CliRunner

from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc.cli import main


@pytest.fixture
def file(tmp_path):
    AnnData(np.eye(5, dtype=np.float32), uns={"zeros": np.zeros(10**7)}).write_h5ad(
        tmp_path / "a.h5ad", compression="gzip"
    )
    return tmp_path / "a.h5ad"


def test_a_whole_file_is_read(file):
    assert read_h5ad(file).uns["zeros"].shape == (10**7,)  # compressed far, and well


def test_what_claims_more_than_the_file_can_hold_is_refused_unread(file):
    with h5py.File(file, "a") as content:
        content.create_dataset("obsm/X_huge", shape=(5, 10**12), chunks=(5, 1000), dtype="f4")
    with pytest.raises(ValueError, match=r"a.h5ad' is damaged: 'obsm/X_huge' claim more values than the file can hold"):
        read_h5ad(file)


def test_what_is_elsewhere_in_use_or_large_is_not_called_damaged(file, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"none\.h5ad"):
        read_h5ad(tmp_path / "none.h5ad")
    with pytest.raises(IsADirectoryError):
        read_h5ad(tmp_path)
    if sys.platform != "win32":
        import fcntl

        with file.open("r+b") as writer:
            fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with pytest.raises(BlockingIOError, match=r"a.h5ad' is open for writing in another process\. Wait"):
                read_h5ad(file)

    def full(path):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr("anndata.read_h5ad", full)
    with pytest.raises(MemoryError, match="3 TiB"):
        read_h5ad(file)


@pytest.mark.parametrize("damage", ["cut", "text", "no X", "index"])
def test_whatever_is_wrong_is_said_in_one_way_and_by_commands_too(file, damage, tmp_path):
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:3000])
    elif damage == "text":
        file.write_text("barcode,gene\n")
    else:
        with h5py.File(file, "a") as content:
            if damage == "no X":
                content["X"].attrs["encoding-type"] = "other"
            else:
                del content["obs/_index"]
    with pytest.raises(ValueError, match=r"a.h5ad' is damaged: the file cannot be read"):
        read_h5ad(file)
    said = CliRunner().invoke(main, ["impute", str(file), "--ref", str(file), "--out", str(tmp_path / "out.zarr")])
    assert said.exit_code == 1
    assert "is damaged: the file cannot be read" in said.output
