"""Every AnnData key that bleep_sc reads or writes. The table in docs/design.md says what each one holds."""

LIBRARY = "library_id"
SPATIAL = "spatial"
PATCHES = "patches"
HARMONY = "X_harmony"
HIGHLY_VARIABLE, CHOSEN_BY = "highly_variable", "highly_variable_nbatches"
LOG1P = "log1p"
ARRAY_ROW, ARRAY_COL = "array_row", "array_col"


def features(encoder: str) -> str:
    """Obsm key of the features of a frozen encoder; files know no key with a slash, as "hf-hub:owner/model" has."""
    return "X_" + encoder.removeprefix("hf-hub:").replace("/", "_")


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


def score(layer: str) -> str:
    """Uns key of the table of scores of a predicted layer."""
    return f"{layer}_score"


def gene_score(layer: str, metric: str) -> str:
    """Var key of a score a gene of a predicted layer."""
    return f"{layer}_{metric}"
