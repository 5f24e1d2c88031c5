"""References that stay on disk."""

import json
import warnings

import anndata as ad
import numpy as np
import pytest
import zarr
from scipy import sparse

import bleep_sc as bs

pytestmark = pytest.mark.filterwarnings("ignore:Did not read zarr as consolidated")


def lazy_zarr(folder):
    return ad.experimental.read_lazy(folder / "ref.zarr")


def lazy_h5ad(folder):
    return ad.experimental.read_lazy(folder / "ref.h5ad")


def backed(folder):
    return ad.read_h5ad(folder / "ref.h5ad", backed="r")


def rows_of_zarr(folder):
    ref = lazy_zarr(folder)
    ref.X = ad.io.sparse_dataset(zarr.open_group(folder / "ref.zarr", mode="r")["X"])
    return ref


def by_hand(folder):
    ref = ad.read_h5ad(folder / "ref.h5ad")
    group = zarr.open_group(folder / "ref.zarr", mode="r")
    obsm = {name: group["obsm"][name] for name in ("X_bleep_image", "X_bleep_expression")}
    return ad.AnnData(ad.io.sparse_dataset(group["X"]), obs=ref.obs, var=ref.var, uns=ref.uns, obsm=obsm)


@pytest.fixture(scope="module")
def folder(_fitted, tmp_path_factory):
    """The reference in files, without its patches."""
    folder = tmp_path_factory.mktemp("reference")
    ref = _fitted.copy()
    del ref.obsm["patches"]
    ref.write_h5ad(folder / "ref.h5ad")
    ref.write_zarr(folder / "ref.zarr")
    return folder


def number(values):
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)


def assert_same_prediction(one, other):
    for slot in ("layers", "obsm"):
        names, same = ([name for name in getattr(each, slot) if "bleep" in str(name)] for each in (other, one))
        assert names == same  # anndata 0.13 keeps X among the layers, as None
        for name in names:
            np.testing.assert_allclose(
                number(getattr(one, slot)[name]), number(getattr(other, slot)[name]), rtol=1e-4, atol=1e-4, err_msg=name
            )
    for name in [name for name in other.obs if "bleep" in name]:
        np.testing.assert_allclose(one.obs[name], other.obs[name], atol=1e-3, err_msg=name)
    assert one.uns["bleep_imputed"] == other.uns["bleep_imputed"]


@pytest.mark.parametrize("read", [lazy_zarr, lazy_h5ad, backed, rows_of_zarr, by_hand])
def test_a_reference_on_disk_predicts_what_it_does_in_memory(fitted, query, folder, read, monkeypatch):
    expected = bs.tl.impute(query, ref=fitted, interval=0.9, copy=True)
    monkeypatch.setattr("bleep_sc._arrays.blocks.BLOCK_BYTES", 4 * 250 * 60)  # sixty spots
    bs.tl.impute(query, ref=read(folder), interval=0.9)
    assert_same_prediction(query, expected)


def test_so_it_does_into_a_store_and_with_faiss(fitted, query, folder, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr("bleep_sc.tl._predictions.record.GENES", 64)
    expected = bs.tl.impute(query, ref=fitted, genes=fitted.var_names[20:200].tolist(), copy=True)
    monkeypatch.setattr("bleep_sc._arrays.blocks.BLOCK_BYTES", 4 * 250 * 60)
    monkeypatch.setattr("bleep_sc.models.retrieval.RESULT_BYTES", 4 * query.n_obs * 130)  # two blocks of genes
    genes = fitted.var_names[20:200].tolist()
    bs.tl.impute(query, ref=lazy_zarr(folder), genes=genes, store=tmp_path / "a.zarr", index="faiss")
    np.testing.assert_allclose(number(query.layers["bleep"]), expected.layers["bleep"], rtol=1e-4, atol=1e-4)
    assert json.loads(query.uns["bleep_imputed"]["params"])["index"] == "faiss"
    assert "recall" not in query.uns["bleep_imputed"]  # a flat index is exact


def test_rows_are_read_in_blocks_and_all_at_once_never(fitted, query, folder, monkeypatch):
    """Neither embeddings nor expression are ever held for more spots than a block has."""
    blocks = []

    class Watched(zarr.Array):
        def __getitem__(self, rows):
            values = super().__getitem__(rows)
            blocks.append(len(values))
            return values

    class Rows(type(ad.io.sparse_dataset(zarr.open_group(folder / "ref.zarr", mode="r")["X"]))):
        def __getitem__(self, rows):
            values = super().__getitem__(rows)
            blocks.append(values.shape[0])
            return values

    ref = by_hand(folder)
    ref.X = Rows(zarr.open_group(folder / "ref.zarr", mode="r")["X"])
    for name in ("X_bleep_image", "X_bleep_expression"):
        ref.obsm[name] = Watched(ref.obsm[name].async_array)
    monkeypatch.setattr("bleep_sc._arrays.blocks.BLOCK_BYTES", 4 * 768 * 50)
    monkeypatch.setattr("bleep_sc.tl._references.on_disk.SAMPLE", 10)
    bs.tl.impute(query, ref=ref)
    assert max(blocks) <= 4 * 768 * 50 // (4 * 20)  # twenty genes judge
    assert sum(blocks) > 5 * fitted.n_obs


def test_references_on_disk_and_in_memory_are_searched_as_one(toy, tmp_path):
    first, imputed, query = (toy[toy.obs["library_id"] == f"slice{i}"].copy() for i in (1, 2, 3))
    bs.pp.select_genes(first, batch_key="library_id", n_top_genes=40)
    bs.tl.fit(first, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=3), show_progress_bar=False)
    bs.tl.impute(imputed, ref=first, genes=first.var_names[:200].tolist() + first.uns["bleep"]["genes"].tolist())
    bs.tl.embed(imputed, first, expression=True, layer="bleep")
    del imputed.obsm["patches"]
    expected = bs.tl.impute(query, ref=[first, imputed], ref_weights=[1, 0.5], copy=True)
    assert not expected.var["bleep_predicted"].all()
    imputed.write_zarr(tmp_path / "imputed.zarr")
    bs.tl.impute(query, ref=[first, ad.experimental.read_lazy(tmp_path / "imputed.zarr")], ref_weights=[1, 0.5])
    assert_same_prediction(query, expected)


def test_corrected_expression_may_be_on_disk(reference, query, tmp_path):
    bs.pp.batch_correct(reference, batch_key="library_id")
    config = bs.tl.FitConfig(max_epochs=3)
    bs.tl.fit(reference, use_rep="X_stain_stats", target_rep="X_harmony", config=config, show_progress_bar=False)
    del reference.obsm["patches"]
    expected = bs.tl.impute(query, ref=reference, target_rep="X_harmony", copy=True)
    reference.write_zarr(tmp_path / "ref.zarr")
    bs.tl.impute(query, ref=ad.experimental.read_lazy(tmp_path / "ref.zarr"), target_rep="X_harmony")
    assert_same_prediction(query, expected)


def test_what_cannot_be_read_from_disk_is_refused_and_nothing_written(fitted, query, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("bleep_sc.tl._references.on_disk.SAMPLE", 4)
    before = set(query.layers), set(query.uns), set(query.obsm)
    group = zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=2)
    ad.io.write_elem(group, "by_columns", sparse.csc_matrix(fitted.X))
    spoilt = fitted.X.copy()
    spoilt.data[spoilt.indptr[10]] = np.nan  # where no sample is taken
    ad.io.write_elem(group, "spoilt", spoilt)
    ref = by_hand(folder)
    for name, message in (
        ("by_columns", r"The expression of the reference is stored by columns .*to_memory"),
        ("spoilt", "The expression of the reference holds NaN"),
    ):
        for read in (ad.io.sparse_dataset, ad.experimental.read_elem_lazy):
            ref.X = read(group[name])
            with pytest.raises(ValueError, match=message):
                bs.tl.impute(query, ref=ref, store=tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    measured = query[:20].copy()
    bs.tl.embed(measured, fitted, expression=True)
    measured.write_zarr(tmp_path / "measured.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="A reference on disk has spots on 'slice3', a slide of the query"):
            bs.tl.impute(query, ref=[fitted, ad.experimental.read_lazy(tmp_path / "measured.zarr")])
    del fitted.uns["bleep"]
    fitted.write_h5ad(tmp_path / "bare.h5ad")
    with pytest.raises(KeyError, match=r"uns\['bleep'\] not found"):
        bs.tl.impute(query, ref=ad.read_h5ad(tmp_path / "bare.h5ad", backed="r"))
    assert (set(query.layers), set(query.uns), set(query.obsm)) == before
