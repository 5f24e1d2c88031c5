"""The quickstart, done wrong in the likeliest ways: every message says what is wrong, and names the cure."""

import anndata as ad
import pytest

import bleep_sc as bs

QUICK = bs.tl.FitConfig(max_epochs=1)


def without(adata, *keys):
    """The same, as if a step had been left out."""
    for key in keys:
        for part in (adata.obsm, adata.uns):
            if key in part:
                del part[key]
    return adata


def unsaid(error, *parts):
    """What a message lacks of these."""
    message = error.value.args[0]
    return [f"{part!r} in: {message}" for part in parts if part not in message]


def test_no_image_file(toy):
    for name in ("slice1", "slice2", "slice3"):
        del toy.uns["spatial"][name]["images"]
    with pytest.raises(KeyError) as error:
        bs.pp.extract_patches(toy, size=56, size_um=112)
    assert unsaid(error, "No full-resolution image of slide 'slice1' is known", "Pass image=, a path or an array") == []


def test_no_patches(toy):
    with pytest.raises(KeyError) as error:
        bs.pp.image_features(without(toy, "patches"), "stain_stats", show_progress_bar=False)
    assert (
        unsaid(error, "obsm['patches'] not found", "'X_stain_stats'", "Run bleep_sc.pp.extract_patches(adata) first")
        == []
    )
    with pytest.raises(KeyError) as error:
        bs.tl.fit(toy, config=QUICK, show_progress_bar=False)
    assert unsaid(error, "obsm['patches'] not found", "Run bleep_sc.pp.extract_patches(adata) first") == []


def test_no_features(reference):
    with pytest.raises(KeyError) as error:
        bs.tl.fit(without(reference, "X_stain_stats"), use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    assert unsaid(error, "obsm['X_stain_stats'] not found", "Run bleep_sc.pp.image_features(adata)") == []


def test_wrong_use_rep(reference):
    with pytest.raises(KeyError) as error:
        bs.tl.fit(reference, use_rep="stain_stats", config=QUICK, show_progress_bar=False)
    assert (
        unsaid(error, "obsm['stain_stats'] not found", "'X_stain_stats'", "pass the key of features as use_rep=") == []
    )
    assert "bleep" not in reference.uns


def test_raw_counts(reference):
    reference.X = reference.layers["counts"]
    with pytest.raises(ValueError, match="looks like counts") as error:
        bs.tl.fit(reference, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    assert (
        unsaid(error, "adata.X looks like counts, not logarithms", "sc.pp.normalize_total", "sc.pp.log1p", "layer=")
        == []
    )


def test_patches_of_another_size(fitted, query):
    without(query, "X_stain_stats")
    bs.pp.extract_patches(query, size=32, size_um=112)
    with pytest.raises(ValueError, match="32 px wide") as error:
        bs.tl.impute(query, ref=fitted)
    assert unsaid(error, "trained on 56 px", "Cut them with bleep_sc.pp.extract_patches(..., size=56") == []
    bs.pp.extract_patches(query, size=56, size_um=200)
    with pytest.raises(ValueError, match="200 µm of tissue") as error:
        bs.tl.impute(query, ref=fitted)
    assert unsaid(error, "trained on 112 µm", "Cut them with bleep_sc.pp.extract_patches(..., size_um=112)") == []
    assert "bleep" not in query.layers


def test_genes_by_other_names(fitted, query):
    query.var_names = [f"ENSG{i:011d}" for i in range(query.n_vars)]
    with pytest.raises(ValueError, match="share only 0 genes") as error:
        bs.tl.impute(query, ref=fitted)
    assert (
        unsaid(error, "The query has Ensembl ids, the reference symbols", "Pass gene_key=, a column of var in both")
        == []
    )


def test_a_reference_that_was_not_fitted(reference, query):
    with pytest.raises(KeyError) as error:
        bs.tl.impute(query, ref=reference)
    assert unsaid(error, "The reference holds no model", "Run bleep_sc.tl.fit(adata_ref) first") == []


def test_query_and_reference_swapped(fitted, query):
    with pytest.raises(KeyError) as error:
        bs.tl.impute(fitted, ref=query)
    assert unsaid(error, "The reference holds no model: uns['bleep'] not found") == []


def test_no_names_of_slides(reference):
    with pytest.raises(KeyError) as error:
        bs.tl.fit(reference, use_rep="X_stain_stats", library_key="sample", config=QUICK, show_progress_bar=False)
    assert (
        unsaid(error, "obs['sample'] not found", "'library_id'", "Pass library_key=, the column that names the slide")
        == []
    )


def test_slides_stacked_without_their_records(toy):
    slides = {name: toy[toy.obs["library_id"] == name].copy() for name in ("slice1", "slice2")}
    stacked = ad.concat(slides)  # neither label= nor uns_merge=
    del stacked.obs["library_id"], stacked.obsm["patches"]
    with pytest.raises(ValueError, match="Slide 'slide' is several slides: 420 spots stand where another") as error:
        bs.pp.extract_patches(stacked, size=56, size_um=112)
    assert unsaid(error, "label='library_id'", "uns_merge='first'") == []


def test_scored_before_imputed(query):
    with pytest.raises(KeyError) as error:
        bs.tl.score(query)
    assert unsaid(error, "layers['bleep'] not found", "Run bleep_sc.tl.impute(adata, ref=adata_ref) first") == []
    with pytest.raises(KeyError) as error:
        bs.pl.spatial(query, "CYP3A4", layer="bleep")
    assert unsaid(error, "layers['bleep'] not found", "run bleep_sc.tl.impute(adata, ref=adata_ref) first") == []
    with pytest.raises(KeyError) as error:
        bs.pl.confidence(query)
    assert unsaid(error, "bleep_sc.tl.impute") == []


def test_a_gene_that_was_not_predicted(fitted, query):
    bs.tl.impute(query, ref=fitted, genes=["CYP3A4"])
    with pytest.raises(ValueError, match="Gene 'HAL' was not predicted") as error:
        bs.pl.spatial(query, "HAL", layer="bleep")
    assert unsaid(error, "bleep_sc.tl.impute(..., genes=None)") == []
    with pytest.raises(KeyError) as error:
        bs.pl.spatial(query, "CYP3A", layer="bleep")
    assert unsaid(error, "color='CYP3A' is neither a gene nor a column of obs") == []


def test_intervals_from_one_slide(toy, query):
    one = toy[toy.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(one, use_rep="X_stain_stats", config=QUICK, show_progress_bar=False)
    with pytest.raises(ValueError, match=r"interval=0.9 needs slides") as error:
        bs.tl.impute(query, ref=one, interval=0.9)
    assert unsaid(error, "Fit on two slides or more, with FitConfig(cross_fit=True)") == []
