"""Images and expression of an AnnData as the arrays that a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer, require_obs, require_obsm, require_unique_genes
from bleep_sc._adata.expression import holds_counts, log_expression, panel, record_of
from bleep_sc._adata.patches import has_patches, patches_of
from bleep_sc._adata.places import array_places, features_around, no_numbers
from bleep_sc._adata.records import (
    check_same_features,
    check_same_patches,
    feature_recipe,
    patch_recipe,
    require_one_field,
)
from bleep_sc._adata.spots import Spots
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc._arrays.unread import Unread
    from bleep_sc.models.encoders import Encoder

NORMALIZE = "bleep_sc.pp.normalize_stains(adata, ref=adata_ref)"


def features(adata: AnnData, use_rep: Sequence[str]) -> NDArray[np.float32]:
    """Return image features from ``obsm``, several side by side."""
    remedy = "Run bleep_sc.pp.image_features(adata), or pass the key of features as use_rep=."
    parts = [np.asarray(require_obsm(adata, key, remedy), dtype=np.float32) for key in use_rep]
    for key, part in zip(use_rep, parts, strict=True):
        if part.ndim != 2:
            raise ValueError(f"obsm[{key!r}] has shape {part.shape}; features are (n_obs, n_features).")
        if not np.isfinite(part).all():
            raise ValueError(f"obsm[{key!r}] holds NaN or infinite values.")
    return np.concatenate(parts, axis=1)


def features_recipe(adata: AnnData, use_rep: Sequence[str]) -> dict[str, Any]:
    """Return how the features in ``obsm`` were made, for the record of a model."""
    recipes = [feature_recipe(adata, key) for key in use_rep]
    for key, recipe in zip(use_rep, recipes, strict=True):
        require_one_field(recipe, f"The patches behind obsm[{key!r}]")
    return {"use_rep": list(use_rep), "features": recipes}


def patches_recipe(adata: AnnData, patches_key: str) -> dict[str, Any]:
    """Return how patches to learn on were cut, for the record of a model, or refuse some that show more than others."""
    recipe = patch_recipe(adata, patches_key)
    require_one_field(recipe, f"The patches of obsm[{patches_key!r}]")
    return recipe


def training_images(
    adata: AnnData,
    use_rep: str | Sequence[str] | None,
    patches_key: str,
    encoder: str | nn.Module | None,
    *,
    trained: bool,
    default: str,
) -> tuple[Any, dict[str, Any], Encoder | None]:
    """Return what a model is fitted on, how that was made, and the encoder where it is patches and not features."""
    from bleep_sc.models.encoders import load_encoder
    from bleep_sc.models.pathology_encoders import doubt_of_scale

    if use_rep is None:
        images, recipe = patches_of(adata, patches_key), patches_recipe(adata, patches_key)
        network = load_encoder(encoder or default)
        if doubt := doubt_of_scale(network.name, recipe["size_um"]):
            warn(doubt)
        fingerprint = "" if trained else network.fingerprint()
        return images, {**recipe, "encoder": network.name, "fingerprint": fingerprint}, network
    if encoder is not None:
        raise ValueError("use_rep= gives features and encoder= would make them from patches; pass one of them.")
    reps = as_keys(use_rep)
    return features(adata, reps), features_recipe(adata, reps), None


def pixels(adata: AnnData, patches_key: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return patches for a model that takes their pixels, (n, S, S, 3), and how they are, for its record."""
    recipe = {**patches_recipe(adata, patches_key), "encoder": "", "fingerprint": ""}
    return np.asarray(patches_of(adata, patches_key)), recipe


def variant(recipe: dict[str, Any], network: Encoder | None) -> dict[str, str]:
    """Return whether a network was trained end to end or on features, and what these are made by."""
    if network is not None:
        return {"variant": "end to end", "backbone": network.name or type(network.network).__name__}
    made = zip(recipe["use_rep"], recipe["features"], strict=True)
    return {"variant": "linear probe", "backbone": ", ".join(how.get("encoder") or key for key, how in made)}


def array_positions(adata: AnnData) -> NDArray[np.int64]:
    """Return row and column of every spot on its array, (n_obs, 2), rounded to whole numbers."""
    remedy = "Number the rows and columns of the spots from 0; squidpy.read.visium and bleep_sc.datasets bring them."
    for key in (keys.ARRAY_ROW, keys.ARRAY_COL):
        require_obs(adata, key, remedy)
    if texts := no_numbers(adata):
        raise ValueError(f"{texts}.")
    both = array_places(adata)
    for key, places in zip((keys.ARRAY_COL, keys.ARRAY_ROW), both.T, strict=True):
        if not (np.isfinite(places).all() and (np.rint(places) >= 0).all()):
            raise ValueError(f"obs[{key!r}] is missing or negative for some spots (least: {np.min(places)}). {remedy}")
    return np.rint(both[:, ::-1]).astype(np.int64)


def array_positions_for(adata: AnnData, n_positions: int, config: str) -> NDArray[np.int64]:
    """Return the array positions of a query, or refuse those for which a model with this ``config`` has no vectors."""
    positions = array_positions(adata)
    if positions.max(initial=0) >= n_positions:
        row, column = positions.max(axis=0)
        raise ValueError(
            f"obs['array_row'] goes up to {row}, obs['array_col'] up to {column}, but the model knows positions from "
            f"0 to {n_positions - 1}. Fit it with {config}(n_positions={max(row, column) + 1}), or count from 0."
        )
    return positions


def images_for(
    spots: Spots, recipe: dict[str, Any], encoder: str | Sequence[str] | nn.Module | None, device: Any
) -> Any:
    """Return the images of a query as a model of this recipe takes them, or refuse.

    Features are taken from ``obsm``, or made from patches by the recorded encoder; patches are returned as they are
    where the model holds its encoder itself.
    """
    if "use_rep" in recipe:
        made = zip(recipe["use_rep"], recipe["features"], strict=True)
        return np.concatenate([_feature_block(spots, key, trained, encoder, device) for key, trained in made], axis=1)
    adata = spots.adata
    if not has_patches(adata, recipe["patches_key"]) and "stains" in recipe:
        require_obsm(
            adata, recipe["patches_key"], f"The model was trained on normalised patches: run {NORMALIZE} first."
        )
    images = patches_of(adata, recipe["patches_key"])
    check_same_patches(patch_recipe(adata, recipe["patches_key"]), recipe)
    return images if not recipe["fingerprint"] else _replay(images, recipe, encoder, device)


def _feature_block(
    spots: Spots, key: str, trained: dict[str, Any], encoder: str | Sequence[str] | nn.Module | None, device: Any
) -> NDArray[np.float32]:
    """Return one of a model's features: as they are in ``obsm``, or made as they were made for the reference."""
    adata = spots.adata
    if key in adata.obsm:
        check_same_features(feature_recipe(adata, key), trained, key)
        return features(adata, [key])
    if "context_of" in trained:
        alone = {name: value for name, value in trained.items() if name not in ("context_of", "radius_um")}
        values = _feature_block(spots, trained["context_of"], alone, encoder, device)
        own = _placed(spots, trained)
        return features_around(values, own.slides, own.centers_um, trained["radius_um"])
    if not trained or not has_patches(adata, trained["patches_key"]):
        require_obsm(adata, key, _how_made(trained))
    check_same_patches(patch_recipe(adata, trained["patches_key"]), trained)
    values = _replay(patches_of(adata, trained["patches_key"]), trained, encoder, device)
    if "neighbors_um" not in trained:
        return values
    from bleep_sc.models.sub_tiles import with_neighbors

    own = _placed(spots, trained)
    return with_neighbors(values, own.slides, own.centers_um, trained["neighbors_um"])


def _placed(spots: Spots, trained: dict[str, Any]) -> Spots:
    """Return spots with slides and places as they were told where features of their surroundings were made."""
    return Spots.of(spots.adata, {**spots.params, **{name: trained[name] for name in spots.params if name in trained}})


def _how_made(trained: dict[str, Any]) -> str:
    """Say how features are made for a query, by which calls where they were made by bleep_sc."""
    same = "The model was trained on these features: compute them as for the reference"
    if not trained:
        return f"{same}."
    if "genes" in trained:
        return f"{same}: bleep_sc.pp.prediction_features(adata, layer, {trained['encoder']!r})."
    if not trained["patches_key"]:
        return f"{same}, and read them: bleep_sc.pp.read_features(adata, path, {trained['encoder']!r})."
    um = "" if not np.isfinite(trained["size_um"]) else f", size_um={trained['size_um']:.4g}"
    symmetries = ", symmetries=True" if trained["symmetries"] else ""
    stains = f", then {NORMALIZE}" if "stains" in trained else ""
    call, around = "image_features", ""
    if "sub_tiles" in trained:
        call = "multi_tile_features"
        around = f", radius_um={trained['neighbors_um']:g}, sub_tiles={trained['sub_tiles']}"
    return (
        f"{same}, with bleep_sc.pp.extract_patches(adata, size={trained['size']}{um}){stains}, then "
        f"bleep_sc.pp.{call}(adata, {trained['encoder'] or 'the same module'!r}{around}{symmetries})."
    )


def _replay(
    images: NDArray[np.uint8] | Unread,
    recipe: dict[str, Any],
    encoder: str | Sequence[str] | nn.Module | None,
    device: Any,
) -> NDArray[np.float32]:
    from torch import nn

    from bleep_sc.models.encode import encode
    from bleep_sc.models.encoders import is_on_hub, load_encoder, require_consent
    from bleep_sc.models.sub_tiles import SubTiled

    name = recipe["encoder"]
    # A name consents to what the model names, and is not taken instead of it.
    takes = nn.Module | str if not name else nn.Module if name != "stain_stats" else ()
    given = encoder if isinstance(encoder, takes) else None
    if not name and given is None:
        raise ValueError(
            "The model was trained on features of a module given by hand; pass the same module as encoder=."
        )
    if is_on_hub(name, pretrained=True):
        require_consent(name, encoder)
    network = load_encoder(name if given is None else given)
    if network.fingerprint() != recipe["fingerprint"]:
        raise ValueError(
            f"encoder={network.name or 'module'!r} has other weights, or another normalisation, than the one that the "
            "model was trained with. Pass the same encoder."
        )
    seen = SubTiled(network, recipe["sub_tiles"]) if "sub_tiles" in recipe else network
    return encode(seen, images, symmetries=recipe.get("symmetries", False), device=device)


def expression(adata: AnnData, layer: str | None, target_rep: str | None) -> tuple[NDArray[np.float32], list[str]]:
    """Return the expression to learn on, (n_obs, n_genes), and the names of its columns."""
    values, names = stored_expression(adata, layer, target_rep)
    return dense(values), names


def stored_expression(adata: AnnData, layer: str | None, target_rep: str | None) -> tuple[Any, list[str]]:
    """Return the same, as dense or sparse as it is."""
    if target_rep is None:
        matrix, genes = log_expression(adata, layer), panel(adata)
        is_whole = sparse.issparse(matrix) and genes.all()
        return matrix if is_whole else matrix[:, genes], adata.var_names[genes].tolist()
    if layer is not None:
        raise ValueError(f"layer={layer!r} and target_rep={target_rep!r} both say what to learn on; pass one of them.")
    target = dense(require_obsm(adata, target_rep, "Run bleep_sc.pp.batch_correct(adata, batch_key=...) first."))
    if not np.isfinite(target).all():
        raise ValueError(f"obsm[{target_rep!r}] holds NaN or infinite values.")
    names = adata.uns.get(target_rep, {}).get("var_names")
    if names is not None and len(names) != target.shape[1]:
        raise ValueError(
            f"obsm[{target_rep!r}] has {target.shape[1]} columns, but uns[{target_rep!r}] names {len(names)} genes: "
            "they do not belong together. Run bleep_sc.pp.batch_correct again."
        )
    return target, [f"{target_rep}_{i}" for i in range(target.shape[1])] if names is None else [str(n) for n in names]


def raw_counts(adata: AnnData, genes: list[str]) -> NDArray[np.float32] | None:
    """Return the raw counts of a model's genes, (n_obs, n_genes), or None where ``layers["counts"]`` has none."""
    columns = adata.var_names.get_indexer(genes)
    counts = adata.layers.get(keys.COUNTS)
    if counts is None or not holds_counts(counts) or (columns < 0).any():
        return None
    return dense(counts[:, columns])


def panel_expression(
    adata: AnnData, genes: list[str], layer: str | None, target_rep: str | None
) -> NDArray[np.float32]:
    """Return the expression of a model's genes, in its order; of a prediction, where the layer is one."""
    if target_rep is not None:
        values, names = expression(adata, None, target_rep)
    elif record_of(adata, layer) is not None:
        return _predicted_panel(adata, genes, layer)
    else:
        values, names = log_expression(adata, layer), adata.var_names.tolist()
    position = {name: i for i, name in enumerate(names)}
    missing = [gene for gene in genes if gene not in position]
    if missing:
        raise KeyError(f"{len(missing)} of the model's {len(genes)} genes are missing, among them {missing[:5]}.")
    return dense(values[:, [position[gene] for gene in genes]])


def _predicted_panel(adata: AnnData, genes: list[str], layer: str | None) -> NDArray[np.float32]:
    """Return a model's genes from a prediction, which must hold all of them."""
    require_unique_genes(adata)
    position = adata.var_names.get_indexer(genes)
    matrix = require_layer(adata, layer, "Run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    values = dense(matrix[:, np.maximum(position, 0)])
    missing = (position < 0) | np.isnan(values).all(axis=0)
    name = "adata.X" if layer is None else f"layers[{layer!r}]"
    if missing.any():
        raise KeyError(
            f"{name} is a prediction without {missing.sum()} of the model's {len(genes)} genes, such as "
            f"{listed(np.array(genes)[missing], 3)}. Impute all genes of the panel first: bleep_sc.tl.impute(adata, "
            "ref=adata_ref) without genes=, with the panel in adata.var_names."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values in some spots. Predict it again.")
    return values


def as_keys(use_rep: str | Sequence[str] | None) -> list[str]:
    """Return one key or several as a list."""
    return [] if use_rep is None else [use_rep] if isinstance(use_rep, str) else list(use_rep)
