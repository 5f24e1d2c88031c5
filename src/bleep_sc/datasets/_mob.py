from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed, warn
from bleep_sc.datasets._fetch import Remote, Source
from bleep_sc.datasets._original_st import read_sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

ARRAY_STEP_UM = 100.0
ANIMALS = {"MOB1": "1", "MOB2": "1", "MOB3": "2", "MOB4": "2"}
CITATION = "STUtility 1.1.1 (MIT), github.com/jbergenstrahle/STUtility, inst/extdata"
SOURCE = Source(
    name="mob",
    local=("{}.tsv", "alignment_table_{}.tsv", "{}.jpg"),
    url="https://raw.githubusercontent.com/jbergenstrahle/STUtility/master/inst/extdata/counts/",
    remote={
        "MOB1": (
            Remote("MOB1.tsv", "82c0691f800355369fd8a72ff44ba1e3112d4e44a790f490a9fa267876a9352e"),
            Remote("alignment_table_MOB1.tsv", "91ade06cf93bc0b3cd728846c34e310a8365200d1ad33498e6a0eb6951a92164"),
            Remote("MOB1.jpg", "c1c292187221bab077ac1b15e95cf665db35684c98d6193af56d2e8b7772fe20"),
        ),
        "MOB2": (
            Remote("MOB2.tsv", "449dcc351ede5c63f9afe313479dbb830ba32c6e86b56b258276304102d1f7e9"),
            Remote("alignment_table_MOB2.tsv", "6d86b226386b0a08f825b3bff4b5c359f00fd52d3f53d77db0376b0f7e0ec30d"),
            Remote("MOB2.jpg", "1079fe52f600ec212a6a59cef76b8697fcd776d0cdb10461ad3bb738eaa5c0b6"),
        ),
        "MOB3": (
            Remote("MOB3.tsv", "f0b9601a10d627d372c412cad4a4dde2a1dee9f2433e51f07ca26d534be015ea"),
            Remote("alignment_table_MOB3.tsv", "da0ce26ad12b94b6d0784ddc1c0c76e998d3bbd2579bad6aa8c4ac2c4f7f2e33"),
            Remote("MOB3.jpg", "0ac2c820ca6614e3ebc7fef3004a85c4623093b10741858e5c5328d7310606ca"),
        ),
    },
)


def mob(sections: str | Sequence[str] = ("MOB1", "MOB2", "MOB3")) -> AnnData:
    """Load sections of mouse olfactory bulb (original Spatial Transcriptomics, 1000 genes, H&E).

    MOB1 and MOB2 are from one animal, MOB3 and MOB4 from another, which makes a test of transfer between donors. The
    files are taken from the folder ``mob`` below ``BLEEP_SC_DATA`` (``MOB1.tsv``, ``alignment_table_MOB1.tsv``,
    ``MOB1.jpg``), where MOB4 and any section laid out the same way are accepted; without that variable MOB1 to MOB3
    are downloaded once and checked. Whose a section of another name is, is not guessed: a section that counts as an
    animal of its own is a leak where it is none, and ``animal`` is left out.

    The spots stand on every second place of their array. µm per px, about 4.4, assume that one array step is 100 µm
    on average, which is an estimate.

    Parameters
    ----------
    sections
        One section or several.

    Returns
    -------
    Raw counts: ``X`` is CSR float32, (n_spots, n_genes). ``obs``: ``library_id`` (the section itself), ``array_row``,
    ``array_col``, ``in_tissue`` and ``animal``, where it is known of all sections. ``var["gene_ids"]``: Ensembl ids
    without the version that ``var_names`` have. ``obsm["spatial"]`` and ``uns["spatial"]`` are as in
    :func:`bleep_sc.datasets.her2st`, and so are the errors.

    Warns
    -----
    UserWarning
        When a section is not one of MOB1 to MOB4, so that ``animal`` is left out.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.mob("MOB3")  # doctest: +SKIP
    """
    adata = read_sections(SOURCE, sections, pitch_um=ARRAY_STEP_UM, citation=CITATION)
    unknown = [section for section in adata.obs[keys.LIBRARY].unique() if section not in ANIMALS]
    if unknown:
        warn(
            f"The animal of {listed(unknown)} is not known, and obs has no column animal. Say it: adata.obs['animal']."
        )
    else:
        adata.obs["animal"] = [ANIMALS[section] for section in adata.obs[keys.LIBRARY]]
    adata.var["gene_ids"] = adata.var_names.str.replace(r"\.\d+$", "", regex=True)
    return adata
