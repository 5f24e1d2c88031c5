import numpy as np
import pytest
import scanpy as sc

import bleep_sc as bs


def test_it_is_the_union_of_what_scanpy_finds_on_every_slide(toy):
    bs.pp.select_genes(toy, batch_key="library_id", n_top_genes=30)
    expected, times = set(), np.zeros(toy.n_vars, dtype=int)
    for library in toy.obs["library_id"].unique():
        slide = toy[toy.obs["library_id"] == library].copy()
        sc.pp.highly_variable_genes(slide, n_top_genes=30)
        expected |= set(slide.var_names[slide.var["highly_variable"]])
        times += slide.var["highly_variable"].to_numpy()
    assert set(toy.var_names[toy.var["highly_variable"]]) == expected
    assert len(expected) > 30
    np.testing.assert_array_equal(toy.var["highly_variable_nbatches"], times)


def test_a_held_out_slide_chooses_no_gene(toy):
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=30)
    changed = toy.copy()
    changed.X[(changed.obs["library_id"] == "slice3").to_numpy().nonzero()[0]] *= 0.3
    again = changed[changed.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(again, batch_key="library_id", n_top_genes=30)
    assert ref.var["highly_variable"].equals(again.var["highly_variable"])


def test_copy_leaves_the_original(toy):
    result = bs.pp.select_genes(toy, n_top_genes=30, copy=True)
    assert result.var["highly_variable"].sum() == 30
    assert "highly_variable" not in toy.var


def test_bad_input(toy):
    with pytest.raises(KeyError, match=r"obs\['slide'\] not found \(adata.obs has: 'library_id'"):
        bs.pp.select_genes(toy, batch_key="slide")
    with pytest.raises(ValueError, match="looks like counts, not logarithms"):
        bs.pp.select_genes(toy, layer="counts")
    with pytest.raises(ValueError, match="n_top_genes=0"):
        bs.pp.select_genes(toy, n_top_genes=0)
    assert "highly_variable" not in toy.var


def test_genes_of_ones_own_are_chosen_besides(toy):
    bs.pp.select_genes(toy, batch_key="library_id", n_top_genes=10)
    others = toy.var_names[~toy.var["highly_variable"]][:3].tolist()
    chosen = set(toy.var_names[toy.var["highly_variable"]])
    bs.pp.select_genes(toy, batch_key="library_id", n_top_genes=10, genes=others)
    assert set(toy.var_names[toy.var["highly_variable"]]) == chosen | set(others)
    assert not toy.var.loc[others, "highly_variable_nbatches"].any()


def test_a_panel_may_be_nothing_but_genes_of_ones_own(toy):
    bs.pp.select_genes(toy, n_top_genes=0, genes=["CYP3A4", "GENE001"])
    assert set(toy.var_names[toy.var["highly_variable"]]) == {"CYP3A4", "GENE001"}


def test_a_gene_that_is_not_there_is_named_and_nothing_is_written(toy):
    before = set(toy.var)
    with pytest.raises(KeyError, match=r"genes= asks for 'INS', which adata\.var_names does not have"):
        bs.pp.select_genes(toy, genes=["CYP3A4", "INS"])
    with pytest.raises(ValueError, match="n_top_genes=0 must be at least 1, or 0 with genes="):
        bs.pp.select_genes(toy, n_top_genes=0)
    assert set(toy.var) == before
