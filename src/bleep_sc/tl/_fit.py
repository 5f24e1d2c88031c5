from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.depth import depths_of, evenly, shallow_slides, warn_of_shallow_slides
from bleep_sc._adata.donors import donor_column, donors_of_slides
from bleep_sc._adata.expression import record_of, require_one_unit, units
from bleep_sc._adata.spots import Spots
from bleep_sc._arrays.sparse_rows import dense_if_small
from bleep_sc._output.messages import logger
from bleep_sc.tl._models import inputs
from bleep_sc.tl._models.in_uns import write_model
from bleep_sc.tl._predictions.typicality import learnt_typicality
from bleep_sc.tl._references.checksums import measured_by, spot_checksums
from bleep_sc.training.config import FitConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc.models.bleep import BLEEP
    from bleep_sc.models.encoders import Encoder


def fit(
    adata: AnnData,
    *,
    use_rep: str | Sequence[str] | None = None,
    patches_key: str = keys.PATCHES,
    encoder: str | nn.Module | None = None,
    layer: str | None = None,
    target_rep: str | None = None,
    library_key: str | None = None,
    donor_key: str | None = None,
    config: FitConfig | None = None,
    key_added: str = "bleep",
    random_state: int = 0,
    devices: str | int | Sequence[str] = "auto",
    num_workers: int = 0,
    checkpoint_dir: str | Path | None = None,
    show_progress_bar: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Train BLEEP on a reference: a joint embedding of image patches and expression.

    Pairs of patch and expression of the same spot are drawn together and all others of the batch apart, with targets
    smoothed by the similarities inside each modality (Xie et al., NeurIPS 2023; see
    :func:`bleep_sc.models.bleep_loss`). Other slides are then read off the reference by :func:`bleep_sc.tl.impute`.

    The image side starts from features that a frozen encoder computed (``use_rep``), or from patches: these are encoded
    once by a frozen encoder, or train it end to end (``FitConfig.paper()``, or ``train_encoder=True``).

    Parameters
    ----------
    adata
        The reference: log-normalised expression and images. It is all that fitting ever sees, so leave out the slides
        that are to be predicted. Genes are those of ``var["highly_variable"]`` where that exists, else all.
    use_rep
        One key or several of image features in ``obsm``, as :func:`bleep_sc.pp.image_features` writes them.
    patches_key
        Key of the patches in ``obsm``, used without ``use_rep``.
    encoder
        For patches: a name or a module, as in :func:`bleep_sc.pp.image_features`. None is ``"resnet50"``.
    layer
        Where the expression to learn on is; None is ``X``.
    target_rep
        Learn on ``obsm[target_rep]`` instead, such as ``"X_harmony"``.
    library_key
        Column of ``obs`` that names the slide; None is the one that patches were cut by, else ``library_id``.
    donor_key
        Column of ``obs`` that names the donor of every spot: patient, animal. None is what a model in ``adata`` was
        told, or the first that names all of ``patient``, ``donor``, ``animal``, ``donor_id``, ``patient_id``,
        ``individual``, ``subject``, in any case; the log says which. Without one, every slide may be of the same donor.
    config
        Hyper-parameters; None is ``FitConfig()``. Where the reference has several donors, this also trains up to five
        models that have not seen a donor, to learn what the predictions are worth on another; where it has one, or
        ``adata`` does not say, models that have not seen a slide. A single slide of 100 spots or more, with places in
        µm, is held out in five parts, which say which spots of a query are less certain, and nothing of genes.
    key_added
        Name of the model.
    random_state
        Seeds everything that is random.
    devices
        ``"auto"`` takes the best there is: ``"cuda"``, ``"mps"``, ``"cpu"``; all GPUs where the encoder is trained and
        has a name. A number of GPUs, or a list such as ``["cuda:0", "cuda:2"]``, trains in a process a device: each has
        its share of every batch, and the loss contrasts the whole batch. The processes are started from a notebook as
        well as from a script. Under torchrun or SLURM, every process calls this with the same arguments and gets
        the same result.
    num_workers
        Processes that read stored patches ahead; a script with ``num_workers=1`` or more must be guarded by
        ``if __name__ == "__main__":``, since they are spawned. The result is the same for any number.
    checkpoint_dir
        Folder for the state of the training, saved after epochs, as often as takes a twentieth of the time. A run that
        was killed goes on from there when it is started again with the same data and arguments, and ends with the same
        weights; with others it is refused. The folder stays, and may be removed when the model is saved. Features of
        a frozen encoder are computed anew: keep them with :func:`bleep_sc.pp.image_features` first.
    show_progress_bar
        Whether to show a bar.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``obsm["X_{key_added}_image"]``, ``obsm["X_{key_added}_expression"]`` : float32, (n_obs, n_dims)
        Joint embeddings of patches and of expression.
    ``var["{key_added}_predictability"]`` : float32
        Pearson r of every gene of the panel within slides of donors that were held out (slides, where donors are not
        several), mean over slides by their spots, and shrunk by what chance explains; where the reference has several
        slides, with ``FitConfig(cross_fit=True)``. NaN where parts of a single one were held out.
    ``obsm["{key_added}_held_out"]`` : float32, (n_obs, n_genes)
        The genes of the panel, as a model predicted them that had not seen the donor (slide, where donors are not
        several), where any was held out: 4,000 spots at most of what one model predicts, and NaN for the others.
        :func:`bleep_sc.tl.score_gene_sets` judges sets of genes by it.
    ``obs["{key_added}_checksum"]`` : uint32
        By which :func:`bleep_sc.tl.impute` tells whether expression and embedding of a spot changed since.
    ``uns[key_added]`` : dict
        The model itself (``model``, safetensors bytes) with ``genes``, ``architecture``, ``recipe`` of the images,
        ``config``, ``params`` (with the donor of every slide) and ``history``: the mean ``loss`` of every epoch. As
        h5ad or zarr, the reference is complete.

    Raises
    ------
    KeyError
        Without features, patches or expression.
    ValueError
        When the expression holds counts, negative or missing values, or empty spots; when what is called a slide is
        several, or is of two donors, or patches show more tissue on one slide than on another; when ``checkpoint_dir``
        holds a training with other data or arguments, or a damaged file; when there are fewer devices than asked for,
        or the processes of torchrun were given different data.
    RuntimeError
        With the traceback of the process that failed, where several were started.

    Warns
    -----
    UserWarning
        When the slides are not normalised alike, or spots are off tissue (``obs["in_tissue"]`` is 0). When some slides
        were sequenced at less than a fifth of the depth of the others: the model is fitted without them.

    Examples
    --------
    >>> import bleep_sc as bs, scanpy as sc
    >>> adata = bs.datasets.toy(n_slices=3)
    >>> sc.pp.normalize_total(adata, target_sum=1e4)
    >>> sc.pp.log1p(adata)
    >>> bs.pp.extract_patches(adata, size=32, size_um=112)
    >>> bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    >>> held_out = adata.obs["library_id"] == "slice3"
    >>> adata_ref, adata_query = adata[~held_out].copy(), adata[held_out].copy()
    >>> bs.tl.fit(adata_ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=5), show_progress_bar=False)
    >>> adata_ref.obsm["X_bleep_image"].shape[1]
    768
    """
    from bleep_sc.models.embed import embed_expression, embed_images
    from bleep_sc.models.encode import encode
    from bleep_sc.models.fitted import Description, FittedModel
    from bleep_sc.models.methods import METHODS
    from bleep_sc.training.calibration import calibrate, held_out_prediction
    from bleep_sc.training.device import resolve_devices
    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.processes.group import is_first
    from bleep_sc.training.processes.launch import fit_in_processes
    from bleep_sc.training.reference import fit_reference
    from bleep_sc.training.validation import units_to_hold_out

    random_state = int(random_state)
    config = config or FitConfig()
    stored, genes = inputs.stored_expression(adata, layer, target_rep)
    values = dense_if_small(stored)
    spots = Spots.to_learn_on(adata, library_key)
    slides, own_donor_key = spots.slides, donor_column(adata, donor_key)
    donors = donors_of_slides(adata, slides, own_donor_key)
    if donors is None and is_first():
        logger.warning(
            "Whose the slides are was not told: what is learnt of genes holds for sections of the same donors, and may "
            "be far better than on another. Name the donors in obs['donor'], or pass donor_key=."
        )
    if target_rep is None:
        require_one_unit(adata, layer, slides)
    deep = _deep_enough(adata, layer, target_rep, slides)
    if use_rep is not None and config.stain_jitter:
        raise ValueError("use_rep= gives features, whose stains are settled; stain_jitter needs patches to change.")
    show_progress_bar = show_progress_bar and is_first()
    images, recipe, network = inputs.training_images(
        adata, use_rep, patches_key, encoder, trained=config.train_encoder, default=METHODS["bleep"].encoder
    )
    trained_encoder = network if config.train_encoder else None
    resolved = resolve_devices(devices, several=trained_encoder is not None and bool(trained_encoder.name))
    if network is not None and trained_encoder is None:
        images = encode(
            network, images, num_workers=num_workers, device=resolved[0], show_progress_bar=show_progress_bar
        )
    pairs, device = Pairs(images, values), resolved[0]
    centers_um = spots.known_centers_um("embeddings are not averaged over tissue") if config.cross_fit else None
    learnt_on = (pairs, slides) if deep.all() else (pairs[deep], slides[deep])
    centers_um = None if centers_um is None else centers_um[deep]
    how: dict[str, Any] = {
        "units": units_to_hold_out(learnt_on[1], donors, centers_um=centers_um, random_state=random_state),
        "centers_um": centers_um,
        "config": config,
        "encoder": trained_encoder,
        "random_state": random_state,
        "num_workers": num_workers,
        "checkpoint_dir": checkpoint_dir,
        "show_progress_bar": show_progress_bar,
    }
    if len(resolved) > 1:
        trained = fit_in_processes(*learnt_on, devices=resolved, **how)
    else:
        trained = fit_reference(*learnt_on, device=device, **how)
    model = trained.model.to(device)
    calibration = None if trained.held_out is None else calibrate(trained.held_out)
    held_out = None
    if trained.held_out is not None and len(np.unique(learnt_on[1])) > 1:
        held_out = np.full(values.shape, np.nan, dtype=np.float32)
        held_out[np.flatnonzero(deep)[trained.held_out.rows]] = held_out_prediction(trained.held_out)
    typicality = learnt_typicality(spots, images, units_to_hold_out(slides, donors), random_state)
    image_embedding = embed_images(model, images, slides, device=device, num_workers=num_workers)
    expression_embedding = embed_expression(model, values, device=device)

    architecture = _architecture(model, config, trained_encoder, genes)
    params = {
        "units": units(adata, layer),
        **measured_by(adata),
        "layer": layer,
        "target_rep": target_rep,
        **spots.params,
        "donor_key": own_donor_key,
        "donors": donors and {name: donors[name] for name in np.unique(learnt_on[1]).tolist()},
        "random_state": random_state,
    }
    description = Description("bleep", architecture, genes, recipe, asdict(config), params)
    checksums = spot_checksums(adata, layer, expression_embedding)
    adata = adata.copy() if copy else adata
    fitted = FittedModel(model, description, calibration, typicality)
    with all_or_nothing(adata):
        write_model(adata, key_added, fitted, slides[deep], {"loss": trained.loss})
        if calibration is not None:
            predictability = pd.Series(calibration.predictability, index=genes).reindex(adata.var_names)
            adata.var[keys.predictability(key_added)] = predictability.to_numpy(dtype=np.float32)
        adata.obsm.pop(keys.held_out(key_added), None)  # of an earlier model of that name
        if held_out is not None:
            adata.obsm[keys.held_out(key_added)] = held_out
        adata.obsm[keys.image_embedding(key_added)] = image_embedding
        adata.obsm[keys.expression_embedding(key_added)] = expression_embedding
        adata.obs[keys.checksum(key_added)] = checksums
    return adata if copy else None


def _deep_enough(
    adata: AnnData, layer: str | None, target_rep: str | None, slides: NDArray[np.str_]
) -> NDArray[np.bool_]:
    """Return which spots a model is fitted on, (n_obs,), and warn of shallow slides, which are left out."""
    if target_rep is not None or record_of(adata, layer) is not None:
        return np.ones(len(slides), dtype=bool)
    matrix = require_layer(adata, layer, "Pass layer=, the layer with logarithms.")
    depths = depths_of(slides, lambda rows: matrix[evenly(rows)])
    shallow = shallow_slides(depths)
    warn_of_shallow_slides(
        depths, shallow, "The model is fitted without them, and bleep_sc.tl.impute reads nothing off them."
    )
    return ~np.isin(slides, shallow)


def _architecture(model: BLEEP, config: FitConfig, encoder: Encoder | None, genes: list[str]) -> dict[str, Any]:
    """Return what the heads, and an encoder that was trained, are built from."""
    return {
        "n_features": model.n_features,
        "n_genes": len(genes),
        "n_dims": config.n_dims,
        "n_models": model.n_models,
        "dropout": config.dropout,
        "views": list(model.views),
        **({} if encoder is None else {"encoder": encoder.name}),
    }
