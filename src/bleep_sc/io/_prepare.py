from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bleep_sc import pp, slides
from bleep_sc._adata import keys
from bleep_sc._adata.checks import off_tissue
from bleep_sc._adata.donors import donor_column
from bleep_sc._adata.expression import holds_counts
from bleep_sc._output.messages import did_you_mean, listed, logger
from bleep_sc._version import __version__
from bleep_sc.io._aligned import alignments_of, laid_on
from bleep_sc.io._join import join_slides, require_different, require_shared_genes
from bleep_sc.io._patches import give_patches, require_stained
from bleep_sc.io._read_slides import has_own_alignment, has_own_pitch, name_of, read_slides
from bleep_sc.io._table import as_text, row_of
from bleep_sc.pp._images import image_of
from bleep_sc.slides._resolution import require_mpp

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.encoders import Encoder

    Folder = str | Path

TARGET_SUM = 1e4
MIN_COUNTS, PER_BIN, BIN_UM = 100, 20, 16.0
"""Of a spot at least so many counts; of a bin of HD of 16 µm, and of others by their area."""


def prepare(
    folders: Folder | Sequence[Folder] | Mapping[str, Folder],
    *,
    image: str | Path | Mapping[str, str | Path] | None = None,
    alignment: str | Path | Sequence[str | Path] | Mapping[str, Any] | None = None,
    donor: Mapping[str, str] | None = None,
    bin_um: float | Literal["auto"] = "auto",
    spot_um: float = 55.0,
    mpp: float | None = None,
    pitch_um: float | None = None,
    min_counts: int | None = None,
    min_spots: int = 10,
    n_top_genes: int = 1000,
    genes: Sequence[str] | None = None,
    size_um: float = 112.0,
    encoder: str | nn.Module | None = "resnet50",
) -> AnnData:
    """Make one AnnData, ready for :func:`bleep_sc.tl.fit`, of the folders that instruments leave.

    Reads every slide, finds its scan, leaves out spots off tissue and with few counts, joins the slides over the genes
    that all of them measured, normalises (counts per 10,000, then log1p), chooses genes, and describes the patch around
    every spot. A table of the slides is logged. Where anything is doubtful it stops, and says what to do.

    Parameters
    ----------
    folders
        One folder or several, or a mapping from the names of slides to folders. Space Ranger's outs, or what holds
        ``outs`` (Visium, CytAssist, Visium HD; versions 1 to 4); Xenium's outs with an H&E and its alignment (CSV);
        SpatialData stores (``.zarr``); folders of original Spatial Transcriptomics (``NAME.tsv`` or ``.tsv.gz`` with
        ``NAME_selection.tsv`` or ``alignment_table_NAME.tsv`` and an image ``NAME.jpg``, of one section or several);
        h5ad files with raw counts in ``layers["counts"]`` or ``X`` and ``obsm["spatial"]`` in px of the scan. A slide
        is called as its folder, or as its section; of several in a folder ``{"NAME": folder}`` takes that one.
    image
        The full-resolution H&E, where it is not the only image in the folder or beside it that has its size: a path, or
        of several slides a mapping from their names to paths.
    alignment
        Where ``image`` is another scan than the one that a slide was measured with, how it lies on that: the JSON that
        Loupe Browser or Space Ranger saved for it (of Visium HD a pair, as in :func:`bleep_sc.pp.register`), the CSV of
        Xenium Explorer where it does not lie beside the image; of several slides a mapping from their names.
    donor
        Whose each slide is, by its name. Given of all slides it is written to ``obs["donor"]``, by which ``tl.fit``
        learns what its model is worth on another donor.
    bin_um
        Side of the bins of Visium HD, µm: 8, 16 or a multiple, to which they are summed. ``"auto"`` takes the smallest
        whose counts carry signal, by the rule of :func:`bleep_sc.pp.sum_bins`, which is logged.
    spot_um
        Side of the spots to which the transcripts, or cells, of Xenium are gathered, µm.
    mpp
        µm per px of the scans, where nothing else says it, or something says it wrong: who gives it is believed.
    pitch_um
        Length of one step on the array, µm, of slides other than Visium and Xenium: 200 of original ST.
    min_counts
        Least counts of a spot; None is 100, and of bins of HD 20 at 16 µm, more or less by their area, and at most 100.
        0 keeps all but empty ones, as for a query.
    min_spots
        In how many spots a gene must be expressed.
    n_top_genes
        How many genes each slide contributes to those that are learnt on, which are the union over slides
        (:func:`bleep_sc.pp.select_genes`). All slides given have a part in the choice: prepare a slide that is to be
        held out for a test by itself. 0 leaves it at ``genes``.
    genes
        Genes that are learnt on whether they vary or not, such as markers: of others nothing is known afterwards.
    size_um
        Side of the tissue that a patch shows, µm; it is resampled to 224 px.
    encoder
        As in :func:`bleep_sc.pp.image_features`; None computes no features, and ``tl.fit`` then trains an encoder.

    Returns
    -------
    An AnnData with

    ``X`` : CSR float32, (n_spots, n_genes)
        Counts per 10,000 of the shared genes, log1p.
    ``layers["counts"]`` : CSR float32, (n_spots, n_genes)
        As they were read.
    ``obs`` : ``library_id``, ``total_counts`` (of all genes of the slide), ``donor`` where it was given
        And what all folders have, such as ``array_row``.
    ``var["highly_variable"]`` : bool
        The genes to learn on, by :func:`bleep_sc.pp.select_genes`.
    ``obsm["spatial"]`` : float64, (n_spots, 2)
        (x, y), full-resolution px.
    ``obsm["X_{encoder}"]`` : float32, (n_spots, n_features)
        Image features.
    ``uns["spatial"]`` : dict
        A small picture of every scan, scale factors, and ``metadata`` with the path of the scan.
    ``uns["patches"]`` : dict
        How patches are cut from the scans when they are needed. They are in ``obsm["patches"]`` only where no scan is a
        file, as in SpatialData stores.
    ``uns["prepared"]`` : dict
        ``use_rep``, the key of the features, which ``bleep-sc fit`` takes; ``target_sum``, 10,000; ``version``;
        ``slides``, the table as JSON.

    Raises
    ------
    FileNotFoundError
        When a folder, its counts, its positions or its scan are not found.
    ValueError
        When a folder is of no known kind; two slides have one name, or the same counts; several images may be the scan,
        or one that was given is of another size; spots lie outside of it, or it is blank there, or eosin alone; µm per
        px are not known, or contradict each other; there are no counts; no spots are left; the slides share less than
        half of the genes of the smallest; or ``genes`` names some that not all slides have, or that fewer than
        ``min_spots`` spots express.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> bs.datasets.toy(n_slices=1)[::8].copy().write_h5ad("slide.h5ad")
    >>> adata = bs.io.prepare("slide.h5ad", n_top_genes=40, encoder="stain_stats")
    >>> adata.obsm["X_stain_stats"].shape
    (29, 36)
    """
    genes = [] if genes is None else list(genes)
    if n_top_genes < (0 if genes else 1):
        raise ValueError(f"n_top_genes={n_top_genes} must be at least 1, or 0 with genes=: no gene would be learnt on.")
    if mpp is not None:
        require_mpp(mpp)
    network = _load(encoder)
    named = _named(folders)
    images, alignments = _images(image, named), alignments_of(alignment, named)
    ready: dict[str, AnnData] = {}
    rows = []
    for folder, name in named:
        pitch = None if has_own_pitch(folder) else pitch_um
        known: dict[str, Any] = {"bin_um": bin_um, "spot_um": spot_um, "pitch_um": pitch_um}
        for own, slide in read_slides(folder, name, images, alignments, **known).items():
            if own in ready:
                raise ValueError(
                    f"Two slides are called {own!r}. Name them: a mapping {{'A1': 'folder', ...}} (on the command line "
                    "--name, once a folder, or a sheet)."
                )
            n_read, n_genes = slide.n_obs, slide.n_vars
            given = images.get(own, images.get(name or name_of(folder)))
            if own in alignments and not has_own_alignment(folder):
                slide, given = laid_on(slide, own, given, alignments[own], mpp), None
            ready[own] = _ready(slide, own, given, min_counts, size_um=size_um, mpp=mpp, pitch_um=pitch)
            rows.append(row_of(ready[own], own, n_read, n_genes))
    of_folders = {name or name_of(folder) for folder, name in named}
    _require_known([each for each in images if each not in of_folders], ready, "image")
    _require_known([each for each in alignments if each not in of_folders], ready, "alignment")
    _require_known(donor or {}, ready, "donor")
    require_different(ready)
    require_shared_genes(ready)
    _require_genes(genes, ready)
    logger.info("%s", as_text(rows))
    _give_donors(ready, donor)
    for slide in ready.values():
        if network is not None:
            pp.image_features(slide, network)
    adata = join_slides(ready)
    if donor_column(adata) is None:
        logger.warning(
            "Whose the slides are was not told: how well a model of them does on another donor will not be known. Say "
            "it with donor= (on the command line --donor NAME=DONOR, once for every slide)."
        )
    _normalise(adata, min_spots, n_top_genes, genes)
    use_rep = "" if network is None else keys.features(network.name or "encoder")
    adata.uns[keys.PREPARED] = {
        "use_rep": use_rep,
        "target_sum": TARGET_SUM,
        "version": __version__,
        "slides": json.dumps(rows),
    }
    return adata


def _load(encoder: str | nn.Module | None) -> Encoder | None:
    """Load an encoder before anything is read: weights that are not there are the commonest thing to fail."""
    from bleep_sc.models.encoders import load_encoder

    return None if encoder is None else load_encoder(encoder)


def _named(folders: Any) -> list[tuple[Path, str | None]]:
    if isinstance(folders, Mapping):
        return [(Path(folder), str(name)) for name, folder in folders.items()]
    several = [folders] if isinstance(folders, str | Path) else list(folders)
    if not several:
        raise ValueError("folders= is empty: pass the folder of a slide, or several.")
    return [(Path(folder), None) for folder in several]


def _images(image: Any, named: list[tuple[Path, str | None]]) -> dict[str, Path]:
    """Return the scans that were given by the names of their slides."""
    if image is None:
        return {}
    if isinstance(image, Mapping):
        return {str(name): Path(path) for name, path in image.items()}
    if len(named) > 1:
        raise ValueError(
            f"image= is one image, but there are {len(named)} folders. Pass a mapping from the names of slides to "
            "their images, {'A1': 'path', ...} (on the command line --image A1=FILE)."
        )
    return {named[0][1] or name_of(named[0][0]): Path(image)}


def _require_known(given: Collection[str], names: Collection[str], argument: str) -> None:
    if unknown := [name for name in given if name not in names]:
        raise ValueError(
            f"{argument}= names slides that are not there: {listed(unknown)} (there are: {listed(names)})."
        )


def _require_genes(genes: list[str], slides: Mapping[str, AnnData]) -> None:
    """Refuse genes that not all slides have."""
    shared = set.intersection(*(set(slide.var_names) for slide in slides.values()))
    if unknown := [gene for gene in genes if gene not in shared]:
        of_all = "no slide has" if len(slides) == 1 else "not all slides have"
        raise ValueError(
            f"genes= names {listed(unknown)}, which {of_all}.{did_you_mean(unknown, sorted(shared))} Names are those "
            f"of var_names, such as {min(shared)!r}. Leave out what was not measured."
        )


def _ready(
    slide: AnnData, name: str, given: Path | None, min_counts: int | None, *, size_um: float, **scale: float | None
) -> AnnData:
    """Return a slide without the spots that are left out, with the record of its patches and a picture of its scan."""
    import scanpy as sc

    if not holds_counts(slide.X):
        raise ValueError(
            f"The values of slide {name!r} are no counts, that is whole numbers from 0 on with some above 1."
        )
    picture = image_of(slide, given, name)
    record = slide.uns[keys.SPATIAL].pop(name)
    slide = slide[~off_tissue(slide)].copy()
    slide.obs[keys.TOTAL_COUNTS] = np.asarray(slide.X.sum(axis=1), dtype=np.float32).ravel()
    least = _least_counts(record) if min_counts is None else min_counts
    n_before, median = slide.n_obs, float(np.median(slide.obs[keys.TOTAL_COUNTS])) if slide.n_obs else 0.0
    sc.pp.filter_cells(slide, min_counts=max(1, least), inplace=True)
    slide.obs = slide.obs.drop(columns="n_counts")
    if not slide.n_obs:
        raise ValueError(
            f"No spot of slide {name!r} is left: {n_before:,} are on tissue, with {median:,.0f} counts in the median, "
            f"and at least {least} are asked for. Pass a smaller min_counts= (--min-counts)."
        )
    slide.uns[keys.SPATIAL] = {name: record}
    give_patches(slide, picture, name, size_um=size_um, **scale)
    require_stained(slide, name)
    slide.uns[keys.SPATIAL] = {name: _library(record, picture)}
    return slide


def _least_counts(record: Mapping[str, Any]) -> int:
    side = record["scalefactors"].get(keys.BIN_SIZE)
    return MIN_COUNTS if side is None else min(MIN_COUNTS, max(1, round(PER_BIN * (side / BIN_UM) ** 2)))


def _library(record: Mapping[str, Any], picture: Any) -> dict[str, Any]:
    """Return what ``uns["spatial"]`` holds of a slide: a small picture of the scan itself, and where it is."""
    with slides.open_slide(picture) as slide:
        preview = slide.thumbnail()
        scale, is_file = preview.shape[1] / slide.width, isinstance(picture, str | Path)
    factors = {key: float(value) for key, value in record["scalefactors"].items() if not key.endswith("_scalef")}
    about = {**record["metadata"], "source_image_path": str(Path(picture).resolve()) if is_file else ""}
    return {
        "images": {"hires": preview},
        "scalefactors": {**factors, "tissue_hires_scalef": scale},
        "metadata": {key: str(value) for key, value in about.items()},
    }


def _give_donors(ready: Mapping[str, AnnData], donor: Mapping[str, str] | None) -> None:
    if not donor:
        return
    if missing := [name for name in ready if name not in donor]:
        raise ValueError(
            f"donor= says whose some slides are, and not {listed(missing)}. Name the donor of every slide."
        )
    for name, slide in ready.items():
        slide.obs[keys.DONOR] = str(donor[name])


def _normalise(adata: AnnData, min_spots: int, n_top_genes: int, genes: list[str]) -> None:
    """Keep the counts, bring all spots to one total, and leave out genes that few spots express."""
    import scanpy as sc

    adata.layers[keys.COUNTS] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=TARGET_SUM)
    sc.pp.log1p(adata)
    n_spots = adata.layers[keys.COUNTS].getnnz(axis=0)
    expressed = n_spots >= min_spots
    if rare := [gene for gene in genes if not expressed[adata.var_names.get_loc(gene)]]:
        seen = ", ".join(f"{gene} in {n_spots[adata.var_names.get_loc(gene)]}" for gene in rare)
        raise ValueError(
            f"genes= names some that fewer than {min_spots} spots express: {seen}. Leave them out, or pass a smaller "
            "min_spots= (--min-spots)."
        )
    if not expressed.any():
        raise ValueError(
            f"No gene is expressed in {min_spots} of the {adata.n_obs} spots. Pass a smaller min_spots= (--min-spots)."
        )
    adata._inplace_subset_var(expressed)
    left = np.asarray(adata.X.sum(axis=1)).ravel() > 0
    adata._inplace_subset_obs(left)
    pp.select_genes(adata, batch_key=keys.LIBRARY, n_top_genes=n_top_genes, genes=genes)
    logger.info(
        "%s spots and %s genes (expressed in %s spots or more); %s of them are learnt on.",
        *(f"{n:,}" for n in (adata.n_obs, adata.n_vars, min_spots, int(adata.var[keys.HIGHLY_VARIABLE].sum()))),
    )
