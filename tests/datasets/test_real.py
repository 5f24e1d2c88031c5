"""her2st and mob: the real files, where they are at hand."""

import gzip

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bleep_sc as bs


@pytest.fixture(scope="module")
def her2st(data_folder):
    return bs.datasets.her2st()


def test_her2st_has_its_spots_in_order(her2st):
    sizes = her2st.obs["library_id"].value_counts()
    assert sizes.to_dict() == {"C2": 187, "C3": 180, "C4": 184, "C5": 181}
    assert her2st.obs_names.is_unique
    assert her2st.var_names.is_unique
    assert isinstance(her2st.X, sparse.csr_matrix)
    assert her2st.X.dtype == np.float32
    assert set(her2st.obs["patient"]) == {"C"}
    assert her2st.obs["array_row"].dtype.kind == "i"


def test_her2st_counts_are_those_of_the_file_and_zero_where_a_section_lacks_a_gene(her2st, data_folder):
    with gzip.open(data_folder / "her2st" / "C3.tsv.gz", "rt") as file:
        table = pd.read_csv(file, sep="\t", index_col=0)
    section = her2st[her2st.obs["library_id"] == "C3"]
    spots = [name.removeprefix("C3_") for name in section.obs_names]
    np.testing.assert_array_equal(section[:, table.columns].X.toarray(), table.loc[spots].to_numpy())
    lacking = her2st.var_names.difference(table.columns)
    assert len(lacking) > 100
    assert section[:, lacking].X.nnz == 0


def test_her2st_coordinates_join_on_the_spot(her2st, data_folder):
    selection = pd.read_csv(data_folder / "her2st" / "C5_selection.tsv", sep="\t")
    row = selection.iloc[20]
    spot = her2st[f"C5_{int(row['x'])}x{int(row['y'])}"]
    np.testing.assert_allclose(spot.obsm["spatial"][0], [row["pixel_x"], row["pixel_y"]])
    assert (spot.obs["array_col"].item(), spot.obs["array_row"].item()) == (row["x"], row["y"])


def test_her2st_knows_its_scale(her2st):
    for library, record in her2st.uns["spatial"].items():
        factors = record["scalefactors"]
        assert factors["microns_per_pixel"] == pytest.approx(0.686, abs=0.004), library
        assert factors["spot_diameter_fullres"] == pytest.approx(145.6, abs=1)
        height = record["images"]["hires"].shape[0]
        assert 9500 < height / factors["tissue_hires_scalef"] < 10500
        assert record["metadata"]["source_image_path"].endswith(f"{library}.jpg")


def test_mob_is_two_animals(data_folder, tmp_path):
    adata = bs.datasets.mob()
    assert adata.shape == (1224, 1000)
    assert adata.obs["library_id"].value_counts().to_dict() == {"MOB1": 379, "MOB2": 407, "MOB3": 438}
    assert adata.obs.groupby("animal", observed=True)["library_id"].unique().map(set).to_dict() == {
        "1": {"MOB1", "MOB2"},
        "2": {"MOB3"},
    }
    assert adata.var_names[0] == f"{adata.var['gene_ids'].iloc[0]}.1"
    assert adata.uns["spatial"]["MOB3"]["scalefactors"]["microns_per_pixel"] == pytest.approx(4.38, abs=0.01)
    adata.write_h5ad(tmp_path / "mob.h5ad")
    adata.write_zarr(tmp_path / "mob.zarr")


def test_one_section_is_enough_and_none_is_too_few(data_folder):
    adata = bs.datasets.mob("MOB2")
    assert adata.n_obs == 407
    assert list(adata.uns["spatial"]) == ["MOB2"]
    for sections in ([], ["MOB1", "MOB1"]):
        with pytest.raises(ValueError, match="must name at least one section, and none twice"):
            bs.datasets.mob(sections)


def test_all_sections_of_an_animal_are_of_one_and_others_of_none(data_folder, tmp_path, monkeypatch):
    adata = bs.datasets.mob(["MOB1", "MOB2", "MOB3", "MOB4"])
    animals = dict(zip(adata.obs["library_id"], adata.obs["animal"], strict=True))
    assert animals == {"MOB1": "1", "MOB2": "1", "MOB3": "2", "MOB4": "2"}
    (tmp_path / "mob").mkdir()
    for name in ("{}.tsv", "alignment_table_{}.tsv", "{}.jpg"):
        (tmp_path / "mob" / name.format("own")).symlink_to(data_folder / "mob" / name.format("MOB4"))
    monkeypatch.setenv("BLEEP_SC_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match=r"The animal of 'own' is not known, .*Say it: adata.obs\['animal'\]"):
        own = bs.datasets.mob("own")
    assert "animal" not in own.obs
    assert own.n_obs == (adata.obs["library_id"] == "MOB4").sum()


def test_animals_of_the_bulb_are_held_out_as_wholes(data_folder, monkeypatch):
    import scanpy as sc

    from bleep_sc.training import cross_fit as module

    adata = bs.datasets.mob(["MOB1", "MOB2", "MOB3", "MOB4"])
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.obsm["X_place"] = np.random.default_rng(0).normal(size=(adata.n_obs, 4)).astype(np.float32)
    held_out = []

    def folds(units, *how):
        held_out.extend(own(units, *how))
        return held_out

    own = module.folds
    monkeypatch.setattr(module, "folds", folds)
    config = bs.tl.FitConfig(max_epochs=1, n_dims=8, views=("scaled",))
    bs.tl.fit(adata, use_rep="X_place", config=config, show_progress_bar=False)
    slides = [sorted(adata.obs["library_id"][rows].unique()) for rows in held_out]
    assert sorted(slides) == [["MOB1", "MOB2"], ["MOB3", "MOB4"]]
    model = bs.tl.load_model(adata)
    assert model.basis == "donors"
    assert np.median(np.abs(adata.var["bleep_predictability"].dropna())) < 0.1  # of features that show nothing
