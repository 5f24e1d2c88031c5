from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model, require_obsm, unread_layer
from bleep_sc._adata.expression import record_of
from bleep_sc._adata.libraries import libraries
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed, warn
from bleep_sc.tl._load_reference import CARD_FILE, REFERENCE_FILE
from bleep_sc.tl._models.in_uns import read_description, read_model
from bleep_sc.tl._references.same_slide import embedding_of
from bleep_sc.tl._sharing.card import Card

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from torch import nn

    from bleep_sc.models.encoder_licenses import EncoderLicense
    from bleep_sc.models.fitted import Description

OF_RECIPES = (
    "patches_key",
    "size",
    "size_um",
    "stains",
    "stain_target",
    "encoder",
    "fingerprint",
    "symmetries",
    "context_of",
    "radius_um",
    "sub_tiles",
    "neighbors_um",
    "genes",
    "library_key",
    "spatial_key",
    "pitch_um",
)
"""What is told of how images became features; whatever else was noted there stays here."""


def share_reference(
    adata: AnnData,
    path: str | Path,
    *,
    key: str = "bleep",
    title: str = "A reference for gene expression from H&E",
    organism: str | None = None,
    tissue: str | None = None,
    license: str | None = None,
    encoder_license: str | None = None,
    encoder: str | nn.Module | None = None,
    gene_columns: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write a trained reference to a folder that can be given away: what imputation needs, and a model card.

    Kept are the model, the expression that is read off, what was predicted of spots that were held out, the joint
    embeddings, the names of the genes, and which spots are of one slide or donor. Slides, donors and spots get neutral
    names. Patches, features, coordinates, images, paths, all other columns of ``obs`` and ``var`` and all other
    predictions are left out. :func:`bleep_sc.tl.load_reference` reads the folder, and :func:`bleep_sc.tl.impute`
    predicts from it what it predicts from ``adata``. A query is known to be of the donor of a reference by the donor's
    name, so that from a reference of one donor no predictability is given.

    **What remains is data of donors**: the expression profile of every spot, and the embeddings of that profile and of
    its image. The card says so, and how many. Whether they may be given away is for the consent of the donors and
    for your data access agreement to say.

    Parameters
    ----------
    adata
        The reference, fitted by :func:`bleep_sc.tl.fit`.
    path
        The folder to write; it appears when it is complete.
    key
        Name of the model.
    title
        Heading of the model card.
    organism, tissue
        What the slides show, for the model card.
    license
        Under which licence the files are given away, abbreviated as hubs do, such as ``"cc-by-4.0"``.
    encoder_license
        Licence of the image encoder, as you have read it, where bleep_sc does not know it. Needed where such an encoder
        was trained, since its weights are then in the files.
    encoder
        Needed only where an encoder that was given as a module was trained: a module of the same architecture.
    gene_columns
        Columns of ``var`` to keep beside the usual identifiers (``gene_ids``, ``gene_name`` and their like), for
        ``gene_key=`` of :func:`bleep_sc.tl.impute`. They are written as they are: look what they hold.
    overwrite
        Replace a folder that holds a model.

    Returns
    -------
    None. Written are ``reference.h5ad``; ``model.safetensors`` and ``model.json``, which
    :func:`bleep_sc.tl.load_model` reads too; and ``README.md``, the model card. Nothing is pickled.

    Raises
    ------
    KeyError
        When there is no such model, or the reference lacks what imputation needs.
    ValueError
        When the model is not one of :func:`bleep_sc.tl.fit`, the expression is itself a prediction, or an encoder was
        trained whose licence does not let its weights be given away, or is not known.
    FileExistsError
        When there is something at ``path``.

    Warns
    -----
    UserWarning
        When an encoder was frozen whose terms restrict what is made with its features.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.share_reference(adata_ref, "toy_reference", tissue="generated", overwrite=True)
    >>> bs.tl.load_reference("toy_reference").obs_names[0]
    'reference_1_1'
    """
    from bleep_sc.models.encoder_licenses import check_trained_encoder
    from bleep_sc.models.saved import new_folder, write

    record = require_model(adata, key)
    description = read_description(record, key)
    if description.method != "bleep":
        raise ValueError(
            f"uns[{key!r}] is a {description.method} model, which reads nothing off a reference. Save the model alone: "
            f"bleep_sc.tl.save_model(adata, path, {key!r})."
        )
    if "encoder" in description.architecture:
        check_trained_encoder(description.architecture["encoder"], encoder_license)
    model, library_key = read_model(record, key, encoder), description.params["library_key"]
    slides = libraries(adata, None, library_key)
    names = {
        name: f"reference_{number}"
        for number, name in enumerate(dict.fromkeys([*slides.tolist(), *description.slides]), start=1)
    }
    genes = _told_of_genes(adata, key, gene_columns)
    shared = _reduced(adata, genes, key, description, [names[name] for name in slides])
    shared.uns[key] = {"history": record["history"]}
    description = replace(
        description,
        recipe=_told(description.recipe),
        slides={names[name]: count for name, count in description.slides.items()},
        params={**description.params, "donors": _neutral_donors(description.params.get("donors"), names)},
    )
    encoders = _encoders(description, encoder_license)
    card = Card(
        model=replace(model, description=description),
        key=key,
        title=title,
        organism=organism,
        tissue=tissue,
        license=license,
        encoders=encoders,
        slides=shared.obs[library_key].value_counts(sort=False).to_dict(),
        n_genes=shared.n_vars,
    )
    if "encoder" not in description.architecture:
        _warn_of_terms(encoders)
    with new_folder(path, overwrite=overwrite, beside=(REFERENCE_FILE, CARD_FILE)) as folder:
        write(card.model, folder)
        shared.write_h5ad(folder / REFERENCE_FILE, compression="gzip")
        (folder / CARD_FILE).write_text(card.text(), encoding="utf-8")


def _neutral_donors(donors: dict[str, str] | None, slides: dict[str, str]) -> dict[str, str] | None:
    """Return the donors of slides, numbered, by the new names of the slides."""
    if donors is None:
        return None
    numbered = {
        name: f"reference_donor_{number}" for number, name in enumerate(dict.fromkeys(donors.values()), start=1)
    }
    return {slides[slide]: numbered[donor] for slide, donor in donors.items()}


def _reduced(adata: AnnData, genes: pd.DataFrame, key: str, description: Description, slides: list[str]) -> AnnData:
    """Return what imputation needs of a reference, with neutral names of slides and spots."""
    from anndata import AnnData

    params = description.params
    layer, target_rep = params.get("reference_layer", params["layer"]), params["target_rep"]
    if record_of(adata, layer) is not None:
        raise ValueError(
            f"The expression of this reference ({'X' if layer is None else f'layers[{layer!r}]'}) is a prediction. "
            "Share the measured reference that it was read off."
        )
    matrix = unread_layer(adata, layer, "It is what is read off.")
    numbers = pd.Series(slides).groupby(slides).cumcount() + 1
    index = [f"{slide}_{number}" for slide, number in zip(slides, numbers, strict=True)]
    obs = pd.DataFrame({params["library_key"]: pd.Categorical(slides, categories=list(dict.fromkeys(slides)))}, index)
    shared = AnnData(matrix if layer is None else None, obs=obs, var=genes)
    if layer is not None:
        shared.layers[layer] = matrix
    for name in (keys.image_embedding(key), keys.expression_embedding(key)):
        shared.obsm[name] = embedding_of(adata, name)
    if keys.held_out(key) in adata.obsm:
        shared.obsm[keys.held_out(key)] = embedding_of(adata, keys.held_out(key))
    if keys.checksum(key) in adata.obs:
        shared.obs[keys.checksum(key)] = adata.obs[keys.checksum(key)].to_numpy()
    if target_rep is not None:
        shared.obsm[target_rep] = dense(require_obsm(adata, target_rep, "The model was fitted on it."))
        corrected = adata.uns.get(target_rep, {})
        shared.uns[target_rep] = {name: corrected[name] for name in ("var_names",) if name in corrected}
    if keys.LOG1P in adata.uns:
        base = dict(adata.uns[keys.LOG1P]).get("base")
        shared.uns[keys.LOG1P] = {} if base is None else {"base": float(base)}
    for made in description.recipe.get("features", [description.recipe]):
        if made.get("stains"):  # for bleep_sc.pp.normalize_stains(query, ref=shared)
            target = {"stains": made["stains"], "stain_target": np.asarray(made["stain_target"])}
            shared.uns[made["patches_key"]] = dict.fromkeys(slides, target)
    return shared


def _told(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with nothing but what imputation needs."""
    if "use_rep" in recipe:
        return {"use_rep": recipe["use_rep"], "features": [_told(made) for made in recipe["features"]]}
    return {name: value for name, value in recipe.items() if name in OF_RECIPES}


def _told_of_genes(adata: AnnData, key: str, gene_columns: Sequence[str]) -> pd.DataFrame:
    """Return what identifies genes, and how they were chosen and predicted: text may hold paths and names of donors."""
    absent = [name for name in gene_columns if name not in adata.var]
    if absent:
        raise KeyError(f"gene_columns={listed(absent)} are no columns of var (it has: {listed(adata.var)}).")
    told = (*keys.GENE_IDENTIFIERS, keys.HIGHLY_VARIABLE, keys.predictability(key), *gene_columns)
    genes = adata.var[[name for name in adata.var if name in told]].rename_axis(index=None)
    for name, column in genes.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            genes[name] = column.cat.remove_unused_categories()
    return genes


def _encoders(description: Description, stated: str | None) -> dict[str, EncoderLicense]:
    """Return the licences of the encoders by their names, or by the keys of features that were made elsewhere."""
    from bleep_sc.models.encoder_licenses import UNKNOWN, EncoderLicense, license_of

    recipe: dict[str, Any] = description.recipe
    if "use_rep" in recipe:
        made_by_key = zip(recipe["use_rep"], recipe["features"], strict=True)
        names = [made.get("encoder") or key for key, made in made_by_key]
    else:
        names = [description.architecture.get("encoder") or recipe["encoder"] or "a module"]
    found = {name: license_of(name) for name in names}
    if stated is None:
        return found
    own = EncoderLicense(f"{stated}, as those who share this reference state")
    return {name: own if known == UNKNOWN else known for name, known in found.items()}


def _warn_of_terms(encoders: dict[str, EncoderLicense]) -> None:
    """Warn of frozen encoders whose terms restrict what is made with their features."""
    for name, known in encoders.items():
        if known.may_be_shared is False:
            warn(
                f"None of the weights of encoder {name!r} are in the files, but embeddings and heads that were "
                f"trained on its features are. Its licence, as far as known: {known.license}. {known.terms} Read its "
                "terms before you give them away."
            )
