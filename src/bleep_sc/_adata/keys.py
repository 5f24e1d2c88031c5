"""Every AnnData key that bleep_sc reads or writes. The table in docs/design.md says what each one holds."""

from collections.abc import Callable

LIBRARY = "library_id"
SPATIAL = "spatial"
PATCHES = "patches"
TILES = "tiles"
HARMONY = "X_harmony"
HIGHLY_VARIABLE, CHOSEN_BY = "highly_variable", "highly_variable_nbatches"
LOG1P = "log1p"
IMPUTED = "imputed"
N_SPOTS, PSEUDOBULK = "n_spots", "pseudobulk"
IN_TISSUE = "in_tissue"
ARRAY_ROW, ARRAY_COL = "array_row", "array_col"
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
draw = "draw_{}".format
"""Layer of one of several imputations of the mean of a group of spots."""
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
    "obs": (confidence, typicality, imputed_share),
    "var": (predicted, predictability),
    "obsm": (weights,),
    "uns": (imputed,),
}
"""All that a prediction consists of, slot by slot: the functions give its keys from its name."""
FROM_EXPRESSION = (image_embedding, expression_embedding, umap, weights, held_out, gene_sets)
"""Keys of obsm that are computed from expression; the image side of a joint embedding was bent towards it."""
