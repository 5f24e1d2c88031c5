"""References and models with damaged bytes, keys and numbers: refused in our words, warned of, or predicted right.

What anndata itself cannot read is not ours, unless bleep_sc opens the file: then it is.
"""

import json
import logging
import resource
import shutil
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc._adata.h5ad import read_h5ad

N_FILES, FEW = 200, 8
NEAR = 0.05
"""Predicted logarithms that differ by less are right: a flipped bit may be a low one."""
SECONDS, BYTES = 30, 2**30
OURS = (ValueError, KeyError, OSError, TypeError)
SOURCE = Path(bs.__file__).parent


pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")


@pytest.fixture(scope="module")
def small(_fitted):
    """A reference as small as they are, without images, and a query."""
    ref = _fitted[:, _fitted.var["highly_variable"]].copy()
    for name in ("patches", "X_stain_stats"):
        del ref.obsm[name]
    del ref.uns["bleep"], ref.layers["counts"]
    ref.obsm["X_few"] = _fitted.obsm["X_stain_stats"]
    config = bs.tl.FitConfig(n_dims=16, views=("scaled",), max_epochs=5)
    bs.tl.fit(ref, use_rep="X_few", config=config, show_progress_bar=False)
    del ref.uns["spatial"], ref.uns["patches"]
    query = ad.AnnData(obs=ref.obs[["library_id"]][:40].assign(library_id="new"), var=ref.var[[]])
    query.obs_names = [f"query{i}" for i in range(40)]
    query.obsm["X_few"] = ref.obsm["X_few"][:40] + np.float32(0.01)
    bs.tl.fit_ridge(ref, use_rep="X_few", library_key="library_id")
    return ref, query


def predicted(query, ref):
    """The layers of all models in a reference, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        layers = [bs.tl.impute(query, ref=ref, copy=True).layers["bleep"]]
        layers.append(bs.tl.predict(query, ref=ref, key="ridge", copy=True).layers["ridge"])
    return layers, [str(each.message) for each in said if "bleep_sc" in str(each.message)]


def outcome(call, expected):
    """Refused, warned of or right; or what it was instead."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with little_memory():
            layers, said = call()
    except Exception as error:  # noqa: BLE001 - whose it is, is the question
        *_, last = traceback.walk_tb(error.__traceback__)
        is_ours = isinstance(error, OURS) and SOURCE in Path(last[0].f_code.co_filename).parents
        found = "refused" if is_ours else f"raw: {type(error).__name__}: {error}"
    else:
        right = all(np.allclose(*pair, atol=NEAR, equal_nan=True) for pair in zip(layers, expected, strict=True))
        found = "warned of" if said else "right" if right else "silently wrong"
    if time.monotonic() - start > SECONDS:
        found = "slow"
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > BYTES:
        found = "large"
    return found


def flipped(data, random):
    """Some bytes changed: one bit, one byte, or a run of them; or the end is missing."""
    data, kind = bytearray(data), random.integers(4)
    place = int(random.integers(len(data)))
    if kind == 0:
        data[place] ^= 1 << int(random.integers(8))
    elif kind == 1:
        data[place] = int(random.integers(256))
    elif kind == 2:
        data[place : place + 64] = random.bytes(len(data[place : place + 64]))
    else:
        del data[max(1, place) :]
    return bytes(data)


HOSTILE = (
    "[" * 100_000,
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    "[]",
    "null",
    "1e999",
    '{"units": null}',
    '{"n_features": 1e9, "n_genes": 40}',
    '{"n_features": 1000000000, "n_genes": 1000000000, "n_models": 1000000000}',
    '{"use_rep": ["X_few"], "features": [[]]}',
    "{" + "9" * 5000 + "}",
    "\udcff",
)


def edited(content, random):
    """A JSON dict with a key renamed, removed or given another value."""
    content = json.loads(json.dumps(content)) or {"a": 1}
    inner = content
    while True:
        name = list(inner)[int(random.integers(len(inner)))]
        if not isinstance(inner[name], dict) or not inner[name] or random.random() < 0.3:
            break
        inner = inner[name]
    values = (None, -1, 0, 10**12, "x", [], {}, float("nan"), float("inf"), True, [[[]]], "hf-hub:owner/model")
    kind = random.integers(3)
    if kind == 0:
        inner[name] = values[int(random.integers(len(values)))]
    elif kind == 1:
        inner[name + "x"] = inner.pop(name)
    else:
        del inner[name]
    return content


def spoilt(ref, random):
    """A reference of which a part was damaged after it was read; None where nothing was changed."""
    ref = ref.copy()
    key = ("bleep", "ridge")[int(random.integers(2))]
    record = ref.uns[key]
    if key == "bleep" and random.random() < 0.5:  # as 0.1.0 wrote it; a regression of 0.1.0 has nothing to compare with
        record.pop("checksum")
    names = [name for name in record if name != "history"]
    name = names[int(random.integers(len(names)))]
    kind = random.integers(5)
    if kind == 0:
        del record[name]
    elif kind == 1:
        record[name] = (None, 7, "x", [], np.zeros(3), np.array(["a", "b"]), {"a": 1})[int(random.integers(7))]
    elif kind == 2 and isinstance(record[name], str) and record[name].startswith("{"):
        record[name] = json.dumps(edited(json.loads(record[name]), random))
    elif kind == 3 and isinstance(record[name], str):
        record[name] = HOSTILE[int(random.integers(len(HOSTILE)))]
    else:
        record["model"] = np.frombuffer(flipped(record["model"].tobytes(), random), dtype=np.uint8)
    return ref


@pytest.fixture(scope="module")
def stored(small, tmp_path_factory):
    """The reference in every form, and what is predicted from it."""
    ref, query = small
    folder = tmp_path_factory.mktemp("stored")
    ref.write_h5ad(folder / "ref.h5ad")
    ref.write_zarr(folder / "ref.zarr")
    bs.tl.save_model(ref, folder / "model")
    bs.tl.share_reference(ref, folder / "shared")
    return folder, predicted(query, ref)[0]


@contextmanager
def little_memory():
    """No more addresses than a little beyond those that the process has: what asks for more fails at once."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, most = before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * BYTES, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_or_none(read, path):
    """What anndata reads; None where it cannot."""
    with warnings.catch_warnings(), little_memory():
        warnings.simplefilter("ignore")
        try:
            return read(path)
        except Exception:  # noqa: BLE001 - of anndata
            return None


def damaged_h5ad(small, stored, tmp_path, random):
    (folder, expected), (_, query) = stored, small
    (tmp_path / "ref.h5ad").write_bytes(flipped((folder / "ref.h5ad").read_bytes(), random))
    ref = read_or_none(ad.read_h5ad, tmp_path / "ref.h5ad")
    if ref is None:  # commands read it, too
        return outcome(lambda: ([], [str(read_h5ad(tmp_path / "ref.h5ad"))]), [])
    return outcome(lambda: predicted(query, ref), expected)


def damaged_zarr(small, stored, tmp_path, random):
    (folder, expected), (_, query) = stored, small
    files = sorted(path for path in (folder / "ref.zarr").rglob("*") if path.is_file() and path.stat().st_size)
    file = files[int(random.integers(len(files)))]
    whole = file.read_bytes()
    try:
        if random.random() < 0.1:
            file.unlink()
        else:
            file.write_bytes(flipped(whole, random))
        ref = read_or_none(ad.read_zarr, folder / "ref.zarr")
    finally:
        file.write_bytes(whole)
    return "unread by anndata" if ref is None else outcome(lambda: predicted(query, ref), expected)


def damaged_record(small, stored, tmp_path, random):
    ref, query = small
    other = spoilt(ref, random)
    return outcome(lambda: predicted(query, other), stored[1])


def damaged_folder(small, stored, tmp_path, random):
    """Saved models and shared references."""
    (folder, expected), (_, query) = stored, small
    is_shared = random.random() < 0.5
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    shutil.copytree(folder / ("shared" if is_shared else "model"), tmp_path / "copy")
    files = sorted(path for path in (tmp_path / "copy").iterdir() if path.suffix != ".md")
    file = files[int(random.integers(len(files)))]
    kind = random.random()
    if kind < 0.1:
        file.unlink()
    elif kind < 0.4 and file.suffix == ".json":
        content = json.loads(file.read_text())
        if random.random() < 0.5:
            del content["checksum"]
        file.write_text(json.dumps(edited(content, random)))
    elif kind < 0.5 and file.suffix == ".json":
        file.write_text(HOSTILE[int(random.integers(len(HOSTILE)))], errors="surrogatepass")
    else:
        file.write_bytes(flipped(file.read_bytes(), random))
    if is_shared:
        return outcome(lambda: retrieved(query, bs.tl.load_reference(tmp_path / "copy")), expected[:1])
    return outcome(lambda: ([same_model(tmp_path / "copy", folder / "model")], []), [np.zeros(1)])


def retrieved(query, ref):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        layer = bs.tl.impute(query, ref=ref, copy=True).layers["bleep"]
    return [layer], [str(each.message) for each in said if "bleep_sc" in str(each.message)]


def same_model(path, other):
    """How far the weights of two models are apart, (1,)."""
    pairs = zip(*(bs.tl.load_model(each).module.state_dict().values() for each in (path, other)), strict=True)
    return np.array([max(float((one - two).abs().max()) for one, two in pairs)])


KINDS = {"h5ad": damaged_h5ad, "zarr": damaged_zarr, "record": damaged_record, "folder": damaged_folder}
FINE = {"refused", "warned of", "right", "unread by anndata"}


def counted(kind, n, small, stored, tmp_path):
    """How often each outcome was, and the seeds of those that are not fine."""
    counts, wrong = {}, []
    for seed in range(n):
        found = KINDS[kind](small, stored, tmp_path, np.random.default_rng(seed))
        counts[found.split(":")[0]] = counts.get(found.split(":")[0], 0) + 1
        if found not in FINE:
            wrong.append((seed, found))
    return counts, wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_damaged_references(kind, small, stored, tmp_path):
    assert counted(kind, FEW, small, stored, tmp_path)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_damaged_references(kind, small, stored, tmp_path):
    counts, wrong = counted(kind, N_FILES, small, stored, tmp_path)
    logging.getLogger(__name__).info("%s: %s", kind, counts)
    assert wrong == [], counts
