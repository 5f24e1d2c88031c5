from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc.tl._load_reference import CARD_FILE, REFERENCE_FILE, load_reference, reference_folder
from bleep_sc.tl._models.in_uns import read_model
from bleep_sc.tl._references.same_slide import embedding_of
from bleep_sc.tl._sharing import findings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from torch import nn


def check_reference(path: str | Path, *, encoder: str | nn.Module | None = None) -> pd.DataFrame:
    """Tell what a receiver wants to know of a shared reference before trusting it, and a sender before sending it.

    Asked are: the hashes of the files, to compare with those of the sender; whether the model and the spots are what
    was written, and belong together; what the numbers mean; of how many donors the slides are; whether names,
    coordinates, images or telling text were left in it; the licence of the encoder; and the scores, which are computed
    once more from the held-out spots that come with it, where any do.

    That all is well says that the folder is what :func:`bleep_sc.tl.share_reference` writes and that its scores follow
    from its spots. Whether the spots were measured nobody can tell from it: score it on a slide of your own.

    Parameters
    ----------
    path
        The folder, or the name of a reference that is published, as for :func:`bleep_sc.tl.load_reference`.
    encoder
        As for :func:`bleep_sc.tl.load_model`: needed only where weights of an encoder are inside that was given as a
        module, or is one of a hub.

    Returns
    -------
    A row for every question: ``verdict``, which is ``"ok"``, ``"look"`` (nothing is wrong, and something is to be
    known) or ``"bad"`` (do not use it, or do not send it), and what was ``found``.

    Raises
    ------
    FileNotFoundError
        When the folder is not complete.
    ValueError
        When a file cannot be read at all, or a newer version of bleep_sc wrote it.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.share_reference`:

    >>> found = bs.tl.check_reference("toy_reference")
    >>> found.loc[["model", "spots", "parts", "names", "scores"], "verdict"].unique().tolist()
    ['ok']
    """
    import pandas as pd

    from bleep_sc.models.saved import CHECKSUM, DESCRIPTION_FILE, WEIGHTS_FILE

    folder = reference_folder(path)
    adata = load_reference(folder, lazy=False)
    key = next(name for name, entry in adata.uns.items() if isinstance(entry, dict) and "model" in entry)
    for name in (keys.image_embedding(key), keys.expression_embedding(key)):
        embedding_of(adata, name)  # or what is missing is said
    fitted = read_model(adata.uns[key], key, encoder)
    has_checksum = f'"{CHECKSUM}"' in (folder / DESCRIPTION_FILE).read_text(encoding="utf-8")
    slides = adata.obs[fitted.description.params["library_key"]].to_numpy(dtype=str)
    rows = [
        *findings.files(folder, (REFERENCE_FILE, WEIGHTS_FILE, DESCRIPTION_FILE, CARD_FILE)),
        findings.model(fitted, has_checksum=has_checksum),
        *findings.spots(adata, key, fitted),
        findings.expression(adata, fitted),
        findings.donors(fitted, slides),
        *findings.identifiers(adata, key, fitted),
        findings.text(folder, (DESCRIPTION_FILE, CARD_FILE), REFERENCE_FILE),
        findings.encoders(fitted),
        findings.scores(adata, key, fitted, slides),
    ]
    return pd.DataFrame(rows).set_index("check")
