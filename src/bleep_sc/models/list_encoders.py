"""The table of published encoders, for those who choose one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc.models.encoder_licenses import license_of
from bleep_sc.models.pathology_encoders import ENCODERS

if TYPE_CHECKING:
    import pandas as pd


def list_encoders() -> pd.DataFrame:
    """List the encoders of pathology that are known by name, with what to know before asking for one.

    None of their weights were at hand when this was written: what is said of an encoder is what its authors and other
    software say, and networks were tested with random weights. The page of an encoder is what counts.

    Returns
    -------
    A table with a row an encoder, by ``name``: ``title``; ``license``; ``gated``, whether weights have to be asked for
    (``"unclear"`` where sources disagree); ``width``, the number of features; ``size``, px, and ``mpp``, µm per px,
    that it was trained at (empty where not known); ``pooling``; ``library``, which builds it (``"authors"``: code of
    theirs, which is not run); ``page``, where weights are; ``also``, names that mean it as well; and ``read``, what the
    row rests on.

    Examples
    --------
    >>> encoders = bs.models.list_encoders()
    >>> encoders.loc["uni2-h", ["title", "mpp", "license"]].tolist()
    ['UNI2-h', '0.5', 'CC-BY-NC-ND-4.0, gated']
    """
    import pandas as pd

    rows = {
        row.name: {
            "title": row.title,
            "license": license_of(row.name).license,
            "gated": {True: "yes", False: "no", None: "unclear"}[row.gated],
            "width": row.width,
            "size": row.size,
            "mpp": ", ".join(f"{each:g}" for each in row.mpp),
            "pooling": row.pooling,
            "library": row.library,
            "page": row.page,
            "also": ", ".join(row.also),
            "read": row.read,
        }
        for row in ENCODERS
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")
