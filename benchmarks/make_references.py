"""References to start from, and the index of them: a folder that can be published as it is.

Every reference is fitted on all sections of a tissue, and written by ``tl.share_reference``. Its scores are from
cross-validation: donors are held out one after another, and predicted from the others, by the default, by ridge
regression on the same features, and by location copy. Features are stain statistics, which need no weights, so that who
loads a reference downloads nothing else.

What may be given away is for the licence of the data to say. That of the mouse olfactory bulb is MIT. The repository
that the breast tumours (her2st) are from states none, and so they are left out; who has read the terms of their record
(Zenodo 4751624), and finds that they allow it, says so: ``--license her2st=cc-by-4.0``.

    python benchmarks/make_references.py --out references [--only mouse-olfactory-bulb] [--license her2st=...]
    python -m http.server --directory references &
    BLEEP_SC_REFERENCES=http://127.0.0.1:8000 python -c "import bleep_sc as bs; print(bs.datasets.references().T)"

MOB4 and B4 are read from the folder that BLEEP_SC_DATA names.
"""

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import scanpy as sc
from anndata import AnnData

import bleep_sc as bs
from bleep_sc._published.references import FORMAT, INDEX_FILE, Published
from bleep_sc.models.encoder_licenses import license_of

ENCODER, MIN_COUNTS, N_TOP_GENES = "stain_stats", 100, 1000
METHODS = {"bleep": "", "ridge": "_ridge", "location": "_location"}
"""Methods that are compared, and how their scores end."""
SETS = {("HVG", "reference"): "hvg", ("HEG", "reference"): "heg", ("all", "panel"): "all"}


@dataclass(frozen=True)
class Tissue:
    """What a reference is made of."""

    name: str
    data: str
    sections: tuple[str, ...]
    donor_key: str
    title: str
    organism: str
    organ: str
    technology: str
    citation: str
    license: str | None
    """As hubs abbreviate it; None where none is stated."""


TISSUES = (
    Tissue(
        "mouse-olfactory-bulb",
        "mob",
        ("MOB1", "MOB2", "MOB3", "MOB4"),
        "animal",
        "Mouse olfactory bulb, four sections of two animals",
        "mouse",
        "olfactory bulb",
        "original Spatial Transcriptomics, 1000 genes",
        "Ståhl et al., Science 353:78 (2016); STUtility 1.1.1 (MIT), github.com/jbergenstrahle/STUtility, inst/extdata",
        "mit",
    ),
    Tissue(
        "her2-breast-tumour",
        "her2st",
        ("B4", "C2", "C3", "C4", "C5"),
        "patient",
        "HER2-positive breast tumours, five sections of two patients",
        "human",
        "breast tumour",
        "original Spatial Transcriptomics",
        "Andersson et al., Nature Communications 12:6012 (2021), github.com/almaan/her2st, Zenodo 4751624",
        None,
    ),
)


def prepared(tissue: Tissue) -> AnnData:
    """Return raw counts of all sections, with features of their patches."""
    adata = getattr(bs.datasets, tissue.data)(tissue.sections)
    sc.pp.filter_cells(adata, min_counts=MIN_COUNTS)
    bs.pp.extract_patches(adata)
    bs.pp.image_features(adata, ENCODER, show_progress_bar=False)
    return adata


def scored(adata: AnnData, tissue: Tissue, runs: Path) -> dict[str, float]:
    """Return mean Pearson r of every donor, predicted from the others."""
    use_rep = f"X_{ENCODER}"
    table = bs.bm.cross_validate(
        adata,
        bs.bm.methods(list(METHODS), use_rep=use_rep, paper=False),
        group_key=tissue.donor_key,
        donor_key=tissue.donor_key,
        use_rep=use_rep,
        n_top_genes=N_TOP_GENES,
        path=runs / tissue.name,
        keep_going=True,  # without location copy, where donors cannot be laid on each other
    )
    means = bs.bm.summarise(table).set_index(["method", "gene_set", "genes_from"])["mean"]
    return {
        f"{name}{ending}": round(float(means[(method, *gene_set)]), 4)
        for method, ending in METHODS.items()
        for gene_set, name in SETS.items()
        if (method, *gene_set) in means.index
    }


def made(adata: AnnData, tissue: Tissue, license: str, out: Path) -> AnnData:
    """Fit on all sections, write the folder, and return what is in it."""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.select_genes(adata, batch_key="library_id", n_top_genes=N_TOP_GENES)
    bs.tl.fit(adata, use_rep=f"X_{ENCODER}", donor_key=tissue.donor_key, show_progress_bar=False)
    bs.tl.share_reference(
        adata,
        out / tissue.name,
        title=tissue.title,
        organism=tissue.organism,
        tissue=tissue.organ,
        license=license,
        overwrite=True,
    )
    found = bs.tl.check_reference(out / tissue.name)
    print(found.to_string(), flush=True)
    if (found["verdict"] == "bad").any():
        raise SystemExit(f"{tissue.name} is not fit to be published.")
    return bs.tl.load_reference(out / tissue.name)


def entry(ref: AnnData, tissue: Tissue, license: str, scores: dict[str, float], folder: Path) -> Published:
    """Return what the index says of a reference."""
    params = bs.tl.load_model(ref).description.params
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return Published(
        name=tissue.name,
        title=tissue.title,
        organism=tissue.organism,
        organ=tissue.organ,
        technology=tissue.technology,
        encoder=ENCODER,
        encoder_license=license_of(ENCODER).license,
        slides=ref.obs[params["library_key"]].nunique(),
        donors=len(set(params["donors"].values())),
        spots=ref.n_obs,
        genes=ref.n_vars,
        held_out="donors",
        scores=scores,
        license=license,
        citation=tissue.citation,
        address=tissue.name,
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        n_bytes=sum(map(len, contents.values())),
    )


def main() -> None:
    """Write the references that may be given away, and the index."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("references"))
    parser.add_argument("--runs", type=Path, default=Path("bleep_sc_references_runs"))
    parser.add_argument("--only", default=None, help="name of one reference")
    parser.add_argument("--license", action="append", default=[], help="DATA=LICENCE, as you have read it")
    arguments = parser.parse_args()
    stated = dict(each.split("=", 1) for each in arguments.license)
    entries = []
    for tissue in TISSUES:
        if arguments.only not in (None, tissue.name):
            continue
        license = stated.get(tissue.data, tissue.license)
        if license is None:
            print(f"{tissue.name} is left out: no licence of its data is stated where they are from.", flush=True)
            continue
        adata = prepared(tissue)
        scores = scored(adata.copy(), tissue, arguments.runs)
        ref = made(adata, tissue, license, arguments.out)
        entries.append(entry(ref, tissue, license, scores, arguments.out / tissue.name))
        print(json.dumps(scores, indent=2), flush=True)
    content = {"format": FORMAT, "references": [asdict(each) for each in entries]}
    (arguments.out / INDEX_FILE).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{arguments.out / INDEX_FILE}: {len(entries)} references")


if __name__ == "__main__":
    main()
