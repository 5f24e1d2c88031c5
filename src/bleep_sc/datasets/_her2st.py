from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc.datasets._fetch import Remote, Source
from bleep_sc.datasets._original_st import read_sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

PITCH_UM = 200.0
CITATION = "Andersson et al., Nature Communications 12:6012 (2021), github.com/almaan/her2st, Zenodo 3957257"
SOURCE = Source(
    name="her2st",
    local=("{}.tsv.gz", "{}_selection.tsv", "{}.jpg"),
    url="https://raw.githubusercontent.com/almaan/her2st/85df7411b987a7dec3feff9718b869a7a82091ec/data/",
    remote={
        "C2": (
            Remote("ST-cnts/C2.tsv.gz", "c1c59ea6cffae36b9ecb561b8e2a97e3aa5f4085f748e991a0e330ed9d09773d"),
            Remote("ST-spotfiles/C2_selection.tsv", "235b5f4306b3b57c628ffc82c98c7109602474fbcc79a917b9c50517f99b6b1c"),
            Remote(
                "ST-imgs/C/C2/5714_HE_BT_C2.jpg", "26e2f73ae840cdd46c5bba405aae181f13a56a376b9848dff23f7a9c5de7f19e"
            ),
        ),
        "C3": (
            Remote("ST-cnts/C3.tsv.gz", "e00c55a3eb9caac5d9c71b8906aae8be8b38f93e23938f4a0ebee17683ef6a2a"),
            Remote("ST-spotfiles/C3_selection.tsv", "7fd76c13370b7804ac3bb377b846d22485cf9223f9dd8dfc25be06e5aaf65755"),
            Remote(
                "ST-imgs/C/C3/5714_HE_BT_D1.jpg", "0005a92674014d473040a28f0afca89ce5fa5c44019b479b638ceb3272ceb568"
            ),
        ),
        "C4": (
            Remote("ST-cnts/C4.tsv.gz", "33201f76d41d7131dc600a0f87d9a70383af3503e81698b4d11e6f2e8d73e9da"),
            Remote("ST-spotfiles/C4_selection.tsv", "47e79f3b9dbfa3a8c18af9e948ba7ba4bf0a75ea1b4c292bc714ced7d0917d4c"),
            Remote(
                "ST-imgs/C/C4/5714_HE_BT_D2.jpg", "f40607eb1d5f0d125decd71c48b0c5d29cf6776ad92297fd185631208c82d6f2"
            ),
        ),
        "C5": (
            Remote("ST-cnts/C5.tsv.gz", "c0f310315ca6110d74dbdf7011e5b42432ba0b8eb5f001824764911988f39338"),
            Remote("ST-spotfiles/C5_selection.tsv", "2114cc3b4da759772112897f1e247d5443c9f8c808e6a9a952eb4fda379a194c"),
            Remote(
                "ST-imgs/C/C5/5714_HE_BT_E1.jpg", "34028ea41e376396b50c42b0a11a7e689c85be4a8022e668d0a09cc128c04c65"
            ),
        ),
    },
)


def her2st(sections: str | Sequence[str] = ("C2", "C3", "C4", "C5")) -> AnnData:
    """Load sections of HER2-positive breast tumours (original Spatial Transcriptomics, 100 µm spots, 200 µm apart).

    C2 to C5 are four consecutive sections of one patient: what is learnt on three of them knows the fourth's
    neighbourhood. The files are taken from the folder ``her2st`` below ``BLEEP_SC_DATA``, where any section laid out
    the same way is accepted (``C2.tsv.gz``, ``C2_selection.tsv``, ``C2.jpg``); without that variable the public
    originals are downloaded once, about 5 MB a section, and checked.
    Cite Andersson et al., Nature Communications 12:6012 (2021).

    Parameters
    ----------
    sections
        One section or several.

    Returns
    -------
    Raw counts: ``X`` is CSR float32, (n_spots, n_genes), sections joined over the union of their genes.
    ``obs``: ``library_id`` (exactly the section's name), ``array_row``, ``array_col``, ``in_tissue`` and ``patient``.
    ``obsm["spatial"]``: (x, y), full-resolution px. ``uns["spatial"][section]``: a small image, scale factors with
    ``microns_per_pixel``, and ``metadata.source_image_path``, the full-resolution image.

    Raises
    ------
    ValueError
        When a section is not known.
    FileNotFoundError
        When ``BLEEP_SC_DATA`` lacks a file.
    OSError
        When a download fails.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.her2st("C2")  # doctest: +SKIP
    """
    adata = read_sections(SOURCE, sections, pitch_um=PITCH_UM, citation=CITATION)
    adata.obs["patient"] = [section[0] for section in adata.obs[keys.LIBRARY]]
    return adata
