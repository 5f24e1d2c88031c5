import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pooch
import pytest
from PIL import Image

import bleep_sc as bs
from bleep_sc.datasets import _her2st
from bleep_sc.datasets._fetch import Remote, Source


@pytest.fixture
def section(tmp_path):
    """A small section, laid out as in BLEEP_SC_DATA."""
    folder = tmp_path / "data" / "her2st"
    folder.mkdir(parents=True)
    row, column = (axis.ravel() for axis in np.mgrid[2:6, 3:8])
    spots = [f"{x}x{y}" for x, y in zip(column, row, strict=True)]
    counts = pd.DataFrame(np.random.default_rng(0).poisson(2, (len(spots), 4)) + 1, index=spots, columns=list("ABCD"))
    counts.iloc[3] = 0
    counts.to_csv(folder / "A1.tsv.gz", sep="\t")
    selection = pd.DataFrame({"x": column, "y": row, "pixel_x": column * 30.0, "pixel_y": row * 30.0, "selected": 1})
    selection.loc[0, "selected"] = 0
    selection.to_csv(folder / "A1_selection.tsv", sep="\t", index=False)
    Image.new("RGB", (300, 240), "pink").save(folder / "A1.jpg")
    return folder


def test_any_section_laid_out_the_same_way_is_read(section, monkeypatch):
    monkeypatch.setenv("BLEEP_SC_DATA", str(section.parent))
    adata = bs.datasets.her2st("A1")
    assert adata.n_obs == 18  # one spot is not selected, one has no counts
    assert adata.obs["patient"].unique().tolist() == ["A"]
    assert adata.uns["spatial"]["A1"]["scalefactors"]["microns_per_pixel"] == pytest.approx(200 / 30)


def test_a_missing_file_is_named_and_nothing_is_downloaded(section, monkeypatch):
    monkeypatch.setenv("BLEEP_SC_DATA", str(section.parent))
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: pytest.fail("downloaded"))
    (section / "A1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"Section 'A1' of her2st: '.*A1.jpg' not found"):
        bs.datasets.her2st("A1")


def test_unknown_sections_are_refused(monkeypatch):
    monkeypatch.delenv("BLEEP_SC_DATA", raising=False)
    with pytest.raises(ValueError, match=r"Section 'Z9' of her2st is not known \(known: 'C2', 'C3', 'C4', 'C5'\)"):
        bs.datasets.her2st("Z9")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(section, tmp_path, monkeypatch):
    """The section under the names of its originals, served on this machine; the cache is empty."""
    public = tmp_path / "public" / "data"
    public.mkdir(parents=True)
    names = ("A1.tsv.gz", "A1_selection.tsv", "0815_HE_BT.jpg")
    for local, name in zip(("A1.tsv.gz", "A1_selection.tsv", "A1.jpg"), names, strict=True):
        (public / name).write_bytes((section / local).read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "public")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remote = tuple(Remote(name, hashlib.sha256((public / name).read_bytes()).hexdigest()) for name in names)
    url = f"http://127.0.0.1:{server.server_address[1]}/data/"
    monkeypatch.setattr(_her2st, "SOURCE", Source("her2st", _her2st.SOURCE.local, url, {"A1": remote}))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv("BLEEP_SC_DATA", raising=False)
    yield public
    server.shutdown()
    server.server_close()


def test_originals_are_downloaded_once_under_their_own_names(server, tmp_path):
    adata = bs.datasets.her2st("A1")
    assert adata.n_obs == 18
    assert (tmp_path / "cache" / "0815_HE_BT.jpg").is_file()
    assert adata.uns["spatial"]["A1"]["metadata"]["source_image_path"].endswith("0815_HE_BT.jpg")
    for path in server.iterdir():
        path.unlink()
    assert bs.datasets.her2st("A1").n_obs == 18


def test_a_changed_file_is_refused_and_not_kept(server, tmp_path):
    (server / "0815_HE_BT.jpg").write_bytes(b"something else")
    with pytest.raises(ValueError, match="does not match the known hash"):
        bs.datasets.her2st("A1")
    assert not (tmp_path / "cache" / "0815_HE_BT.jpg").exists()


def test_a_failed_download_says_what_to_do_by_hand(server):
    (server / "A1.tsv.gz").unlink()
    with pytest.raises(OSError, match=r"A1.tsv.gz could not be downloaded .*by hand and set BLEEP_SC_DATA to a folder"):
        bs.datasets.her2st("A1")


def test_the_registry_is_that_of_the_files_at_hand(data_folder):
    from bleep_sc.datasets._mob import SOURCE as MOB

    for source in (_her2st.SOURCE, MOB):
        for section, remotes in source.remote.items():
            for pattern, remote in zip(source.local, remotes, strict=True):
                content = (data_folder / source.name / pattern.format(section)).read_bytes()
                assert hashlib.sha256(content).hexdigest() == remote.sha256, remote.path
