from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc.bm._measures import CRPS, GIVEN, KNOWN_SETS, SHARE, SKILL, VARIANCE, better, label_of, of_slides
from bleep_sc.bm._summary import CEILING, LOCATION, check_compared, drawn

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN = (
    *(label_of(gene_set, origin) for gene_set, origin, _ in KNOWN_SETS),
    GIVEN,
    SHARE,
    CRPS,
    SKILL,
    VARIANCE,
    "gene-gene correlation",
    "Moran's I",
    "Leiden, ARI",
)
"""The columns of the table, in their order."""


def paper_table(
    table: pd.DataFrame,
    of_structure: pd.DataFrame | None = None,
    *,
    against: str | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    r"""Put all that a paper reports of a comparison into one table: every measure with an interval and a difference.

    Every measure is one number a slide, the mean over seeds; means, intervals and paired differences are those of
    :func:`bleep_sc.bm.summarise`, which resamples donors, and slides within them.

    Parameters
    ----------
    table
        What :func:`bleep_sc.bm.cross_validate` returned.
    of_structure
        What :func:`bleep_sc.bm.structure` returned for all held-out slides, one below the other; None leaves its
        measures out.
    against
        The method from which differences are taken, slide by slide; None is location copy, where that was compared.
    random_state
        Of the bootstrap; intervals hold 95 %.

    Returns
    -------
    A row for every question, measure and method: ``held_out``, ``measure``, ``method``, ``better`` (``"higher"``,
    ``"lower"``, or ``"one"``), ``mean``, ``lower``, ``upper``, ``gain``, ``gain_lower``, ``gain_upper`` (NaN where
    there is nothing to resample) from the method that ``gain_over`` names, ``n_slides``, ``n_donors``, ``seconds``, how
    long a run took, and ``trained_elsewhere`` (:func:`bleep_sc.bm.external`). With :math:`r_{gs}` the Pearson
    correlation of gene :math:`g` on slide :math:`s`, 0 where it has none:

    =========================  ====================================================================================
    ``MG``, ``HEG``, ``HVG``,  mean of :math:`r_{gs}` over the markers, the 50 most expressed and the 50 most
    ``all``                    variable genes of the training slides (``reference``) or, as in the paper, of the
                               held-out slide (``truth``), and all predicted genes
    ``r given location copy``  the same of partial correlations (:func:`bleep_sc.metrics.partial_pearson`): does the
                               method know more than place?
    ``share of ceiling``       mean :math:`r_{gs}` over mean :func:`bleep_sc.metrics.noise_ceiling`
    ``CRPS``                   of a prediction that averages training spots, as the distribution that it is; of a
                               value, its absolute error (:func:`bleep_sc.metrics.crps`)
    ``CRPS skill``             :math:`1 - \mathrm{CRPS} / \mathrm{CRPS}_\text{all}`, with all training spots alike,
                               which look at no image, in the denominator (Gneiting and Raftery, JASA 2007)
    ``variance ratio``         median over genes of predicted over measured variance
    ``gene-gene correlation``  as :func:`bleep_sc.bm.structure` says, on the first seed
    ``Moran's I``              the same
    ``Leiden, ARI``            the same
    =========================  ====================================================================================

    From *r given location copy* to *variance ratio* measures are over the HVG of the training slides; CRPS over those
    that every method predicted. :func:`bleep_sc.bm.to_latex` writes it for a paper.

    Raises
    ------
    KeyError
        When ``against`` was not compared, or the table is not that of a comparison.

    Examples
    --------
    After the example of :func:`bleep_sc.bm.held_out`:

    >>> of_structure = bs.bm.structure(slide, ["ridge"])
    >>> paper = bs.bm.paper_table(table, of_structure, against="mean")
    >>> paper.loc[paper["method"] == "ridge", "measure"].tolist()[:2]
    ['HEG (reference)', 'HVG (reference)']
    """
    check_compared(against, table)
    values = of_slides(table, of_structure)
    values = values[values["measure"].isin(SHOWN)]
    rows = [row for part in _parts(values) for row in _of_measure(part, against or LOCATION, random_state)]
    elsewhere = table.loc[table.get("trained_elsewhere", pd.Series(data=False, index=table.index)), "method"].unique()
    seconds = table.drop_duplicates(["method", "group", "seed"]).groupby("method")["seconds"].mean()
    result = pd.DataFrame(rows)
    return result.assign(seconds=result["method"].map(seconds), trained_elsewhere=result["method"].isin(elsewhere))


def _parts(values: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Return the values of every question and measure, in the order of the table."""
    for _, asked in values.groupby("held_out", sort=False):
        for measure in SHOWN:
            part = asked[asked["measure"] == measure]
            if len(part):
                yield part


def _of_measure(part: pd.DataFrame, against: str, random_state: int) -> Iterator[dict[str, object]]:
    """Return a row for every method, of one question and measure."""
    draw = drawn(part, random_state)
    by_method = {name: rows.set_index("library")["value"] for name, rows in part.groupby("method", sort=False)}
    measure = part["measure"].iloc[0]
    for method, by_slide in by_method.items():
        row = {"held_out": part["held_out"].iloc[0], "measure": measure, "method": method, "better": better(measure)}
        row |= draw(by_slide.dropna())
        is_gain = against in by_method and method not in (against, CEILING)
        gain = draw((by_slide - by_method[against]).dropna()) if is_gain else {}
        row |= {"gain": gain.get("mean", np.nan)}
        row |= {f"gain_{end}": gain.get(end, np.nan) for end in ("lower", "upper")}
        yield {**row, "gain_over": against if gain else None}
