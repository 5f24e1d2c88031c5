"""Every AnnData key that bleep_sc reads or writes. The table in docs/design.md says what each one holds."""

from collections.abc import Callable

LIBRARY = "library_id"
SPATIAL = "spatial"
PATCHES = "patches"
TILES = "tiles"
BINS = "bins"
REGISTRATION = "registration"
CELLS, CELL_ID, CELL_CLASS = "cells", "cell_id", "cell_class"
HARMONY = "X_harmony"
HIGHLY_VARIABLE, CHOSEN_BY = "highly_variable", "highly_variable_nbatches"
LOG1P = "log1p"
IMPUTED = "imputed"
N_SPOTS, PSEUDOBULK = "n_spots", "pseudobulk"
N_CELLS, N_BINS = "n_cells", "n_bins"
IN_TISSUE = "in_tissue"
TISSUE, SHARPNESS, REGION = "tissue", "sharpness", "region"
COUNTS, TOTAL_COUNTS, DONOR = "counts", "total_counts", "donor"
PREDICTABILITY_OF, INTERVAL_OF, CONFIDENCE_OF = "predictability_of", "interval_of", "confidence_of"
"""Of the record of a prediction: what each was learnt from, one of ``bleep_sc.models.basis.BASES``, or why it is not
promised here."""
PREPARED = "prepared"
ARRAY_ROW, ARRAY_COL = "array_row", "array_col"
BIN_SIZE = "bin_size_um"
GENE_IDENTIFIERS = ("gene_ids", "gene_id", "ensembl_id", "gene_name", "gene_symbol")
"""Columns of var that are taken over from a reference."""


def gene_score(layer: str, metric: str) -> str:
    """Var key of a score a gene of a predicted layer."""
    return f"{layer}_{metric}"


def features(encoder: str) -> str:
    """Obsm key of the features of a frozen encoder; files know no key with a slash, as "hf-hub:owner/model" has."""
    return "X_" + encoder.removeprefix("hf-hub:").replace("/", "_")


# Templates, called with the name of a model, of a layer or of features.

context = "{}_context".format
"""Obsm key of the features around every spot."""
multi_tile = "{}_multi_tile".format
"""Obsm key of the features of patches, their parts and the patches around them."""
unregistered = "{}_unregistered".format
"""Obsm key of the coordinates of spots on the image that they were measured with, before another one was registered."""
normalized = "{}_normalized".format
"""Obsm and uns key of patches with the stains of a target."""
store_rows = "{}_row".format
"""Obs key of the row of every spot in the store of its patches."""
image_embedding = "X_{}_image".format
"""Obsm key of the image side of a joint embedding."""
expression_embedding = "X_{}_expression".format
"""Obsm key of the expression side of a joint embedding."""
weights = "{}_weights".format
"""Obsm key of the weights of the reference spots behind every prediction."""
imputed = "{}_imputed".format
"""Uns key of the record that says how a layer was predicted."""
predicted = "{}_predicted".format
"""Var key of the flag of the genes that a predicted layer holds."""
predictability = "{}_predictability".format
"""Var key of how well a gene was predicted on held-out slides of the reference."""
retrieved = "{}_retrieved".format
"""Layer of the part of a prediction that its weights explain."""
lower = "{}_lower".format
"""Layer of the lower ends of the intervals of a prediction."""
upper = "{}_upper".format
"""Layer of the upper ends of the intervals of a prediction."""
confidence = "{}_confidence".format
"""Obs key of how far a spot's prediction is to be trusted, among spots that the reference held out."""
imputed_share = "{}_imputed_share".format
"""Obs key of how much of a prediction rests on reference spots that were predicted themselves."""
restored = "{}_restored".format
"""Layer of a prediction whose genes vary as much as measured ones."""
conserved = "{}_conserved".format
"""Layer of a prediction for tiles that together are what the spots measured."""
spot = "{}_spot".format
"""Obs key of the spot that a tile of a conserved layer is part of."""
slope = "{}_slope".format
"""Var key of how much of another model's prediction was added to one's own."""
draw = "draw_{}".format
"""Layer of one of several imputations of the mean of a group of spots."""
placed = "{}_place".format
"""Layer of a prediction in which morphology and the same place of the neighbouring sections are mixed."""
share = "{}_share".format
"""Var key of how far a gene of such a layer moved from morphology towards the place."""
held_out = "{}_held_out".format
"""Obsm key of the spots of a reference as models predicted them that had not seen their donor, or slide."""
gene_sets = "{}_gene_sets".format
"""Obsm key of the scores of sets of genes of a layer, and uns key of what is known about every set."""
checksum = "{}_checksum".format
"""Obs key of what tells whether the expression and the embedding of a spot are those that a reference was made of."""
typicality = "{}_typicality".format
"""Obs key of how much the tissue around a spot looks like that of the reference."""
score = "{}_score".format
"""Uns key of the table of scores of a predicted layer."""
clusters = "{}_leiden".format
"""Obs key of the clusters of a predicted layer, and uns key of how well they agree with the measured ones."""
gene_correlation = "{}_correlation".format
"""Varp key of the gene-gene correlation of a layer."""
umap = "X_{}_umap".format
"""Obsm key of a predicted layer among the profiles of its reference."""
gene_gene = "{}_gene_correlation".format
"""Uns key of how the gene-gene correlation of a predicted layer agrees with the measured one."""
umap_record = "{}_umap".format
"""Uns key of the reference profiles around a predicted layer."""
PREDICTION: dict[str, tuple[Callable[[str], str], ...]] = {
    "layers": (str, retrieved, lower, upper),
    "obs": (confidence, typicality, imputed_share, spot),
    "var": (predicted, predictability, slope, share),
    "obsm": (weights,),
    "uns": (imputed,),
}
"""All that a prediction consists of, slot by slot: the functions give its keys from its name."""
FROM_EXPRESSION = (image_embedding, expression_embedding, umap, weights, held_out, gene_sets)
"""Keys of obsm that are computed from expression; the image side of a joint embedding was bent towards it."""
