"""The folder of a reference that is shared."""

from __future__ import annotations

from pathlib import Path

REFERENCE_FILE, CARD_FILE = "reference.h5ad", "README.md"


def require_reference(path: str | Path) -> Path:
    """Return the folder of a shared reference, or say what is missing."""
    from bleep_sc.models.saved import DESCRIPTION_FILE, WEIGHTS_FILE

    path = Path(path)
    expected = (REFERENCE_FILE, WEIGHTS_FILE, DESCRIPTION_FILE, CARD_FILE)
    missing = [name for name in expected if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{str(path)!r} is no shared reference: {', '.join(missing)} not found in it. "
            "bleep_sc.tl.share_reference(adata_ref, path) writes one; one on the Hugging Face Hub is downloaded by "
            'huggingface_hub.snapshot_download("owner/name"), which returns its folder.'
        )
    return path
