from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._published.references import index

if TYPE_CHECKING:
    import pandas as pd


def references() -> pd.DataFrame:
    """List the references that are published, which :func:`bleep_sc.tl.load_reference` loads by their names.

    The index is read from the address that ``BLEEP_SC_REFERENCES`` names (its folder, with ``index.json`` in it), else
    from that of bleep_sc. Where that is not reached, what it said when it was last read is taken.

    Returns
    -------
    A row for every reference, by its name: ``title``, ``organism``, ``organ``, ``technology``, ``slides``, ``donors``,
    ``spots``, ``genes``, ``encoder``, ``encoder_license``, ``license`` (of the data), ``citation``, ``address``, ``mb``
    to download, what was ``held_out`` when it was scored, and the scores, mean Pearson r: ``r_...``. Another method's
    scores end in its name.

    Raises
    ------
    OSError
        When the index cannot be read, and never was.
    ValueError
        When it is damaged, or a newer version of bleep_sc wrote it.

    Examples
    --------
    >>> bs.datasets.references()[["organ", "donors", "r_hvg", "license"]]  # doctest: +SKIP
    """
    import pandas as pd

    rows = {}
    for each in index():
        row = {name: value for name, value in vars(each).items() if name not in ("name", "files", "n_bytes", "scores")}
        scores = {f"r_{name}": r for name, r in each.scores.items()}
        rows[each.name] = {**row, "mb": round(each.n_bytes / 1e6, 1), **scores}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")
