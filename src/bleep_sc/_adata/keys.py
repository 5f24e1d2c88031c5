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
ARRAY_ROW, ARRAY_COL = "array_row", "array_col"
GENE_IDENTIFIERS = ("gene_ids", "gene_id", "ensembl_id", "gene_name", "gene_symbol")
"""Columns of var that are taken over from a reference."""


def features(encoder: str) -> str:
    """Obsm key of the features of a frozen encoder; files know no key with a slash, as "hf-hub:owner/model" has."""
    return "X_" + encoder.removeprefix("hf-hub:").replace("/", "_")


def context(use_rep: str) -> str:
    """Obsm key of the features around every spot."""
    return f"{use_rep}_context"


def normalized(patches_key: str) -> str:
    """Obsm and uns key of patches with the stains of a target."""
    return f"{patches_key}_normalized"


def store_rows(patches_key: str) -> str:
    """Obs key of the row of every spot in the store of its patches."""
    return f"{patches_key}_row"


def image_embedding(key: str) -> str:
    """Obsm key of the image side of a joint embedding."""
    return f"X_{key}_image"


def expression_embedding(key: str) -> str:
    """Obsm key of the expression side of a joint embedding."""
    return f"X_{key}_expression"


def weights(key: str) -> str:
    """Obsm key of the weights of the reference spots behind every prediction."""
    return f"{key}_weights"


def imputed(key: str) -> str:
    """Uns key of the record that says how a layer was predicted."""
    return f"{key}_imputed"


def predicted(key: str) -> str:
    """Var key of the flag of the genes that a predicted layer holds."""
    return f"{key}_predicted"


def predictability(key: str) -> str:
    """Var key of how well a gene was predicted on held-out slides of the reference."""
    return f"{key}_predictability"


def retrieved(key: str) -> str:
    """Layer of the part of a prediction that its weights explain."""
    return f"{key}_retrieved"


def lower(key: str) -> str:
    """Layer of the lower ends of the intervals of a prediction."""
    return f"{key}_lower"


def upper(key: str) -> str:
    """Layer of the upper ends of the intervals of a prediction."""
    return f"{key}_upper"


def confidence(key: str) -> str:
    """Obs key of how far a spot's prediction is to be trusted, among spots that the reference held out."""
    return f"{key}_confidence"


def imputed_share(key: str) -> str:
    """Obs key of how much of a prediction rests on reference spots that were predicted themselves."""
    return f"{key}_imputed_share"


def restored(layer: str) -> str:
    """Layer of a prediction whose genes vary as much as measured ones."""
    return f"{layer}_restored"


def draw(number: int) -> str:
    """Layer of one of several imputations of the mean of a group of spots."""
    return f"draw_{number}"


def typicality(key: str) -> str:
    """Obs key of how much the tissue around a spot looks like that of the reference."""
    return f"{key}_typicality"


def score(layer: str) -> str:
    """Uns key of the table of scores of a predicted layer."""
    return f"{layer}_score"


def gene_score(layer: str, metric: str) -> str:
    """Var key of a score a gene of a predicted layer."""
    return f"{layer}_{metric}"


def clusters(layer: str) -> str:
    """Obs key of the clusters of a predicted layer, and uns key of how well they agree with the measured ones."""
    return f"{layer}_leiden"


def gene_correlation(layer: str) -> str:
    """Varp key of the gene-gene correlation of a layer."""
    return f"{layer}_correlation"


def umap(layer: str) -> str:
    """Obsm key of a predicted layer among the profiles of its reference."""
    return f"X_{layer}_umap"


def gene_gene(layer: str) -> str:
    """Uns key of how the gene-gene correlation of a predicted layer agrees with the measured one."""
    return f"{layer}_gene_correlation"


def umap_record(layer: str) -> str:
    """Uns key of the reference profiles around a predicted layer."""
    return f"{layer}_umap"


PREDICTION: dict[str, tuple[Callable[[str], str], ...]] = {
    "layers": (str, retrieved, lower, upper),
    "obs": (confidence, typicality, imputed_share),
    "var": (predicted, predictability),
    "obsm": (weights,),
    "uns": (imputed,),
}
"""All that a prediction consists of, slot by slot: the functions give its keys from its name."""
FROM_EXPRESSION = (image_embedding, expression_embedding, umap, weights)
"""Keys of obsm that are computed from expression; the image side of a joint embedding was bent towards it."""
