"""Train BLEEP on arrays: from features of a frozen encoder, or from patches end to end."""

from __future__ import annotations

from dataclasses import replace
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bleep_sc._output.messages import logger
from bleep_sc.models import stain_jitter, symmetries
from bleep_sc.models.losses import bleep_loss, clip_loss
from bleep_sc.models.on_device import has_bfloat16, memory_format, transfer
from bleep_sc.training.architecture import trained_on, whole
from bleep_sc.training.best_epoch import BestEpoch, batches_to_judge, judges
from bleep_sc.training.checkpoint import Checkpoint, fingerprint, only_one
from bleep_sc.training.chunks import embed_in_chunks, number_of_chunks
from bleep_sc.training.feed import Feed
from bleep_sc.training.loop import train
from bleep_sc.training.prepared import prepare
from bleep_sc.training.processes.group import Processes, joined
from bleep_sc.training.seeds import seed, seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from bleep_sc.models.bleep import BLEEP
    from bleep_sc.models.encoders import Encoder
    from bleep_sc.training.architecture import SideBySide
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs

    Trainable = BLEEP | SideBySide


def fit_bleep(
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    config: FitConfig,
    units: NDArray[np.str_] | None = None,
    encoder: Encoder | None = None,
    random_state: int = 0,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
    checkpoint_dir: str | Path | None = None,
    on_epoch_end: Callable[[int, float], bool] | None = None,
    show_progress_bar: bool = True,
) -> tuple[BLEEP, list[float]]:
    """Train BLEEP on paired spots.

    Under torchrun or SLURM, or inside a group of :mod:`torch.distributed`, the processes train one model together:
    each calls this with the same arguments, takes its share of every batch, and gets the same result. They follow one
    process step by step, but for dropout, of which each has its own, and for statistics of a batch: on CUDA, batch
    norm is synchronised; elsewhere each process normalises by its own share.

    Parameters
    ----------
    pairs
        Images and expression of the spots.
    groups
        Slide of every spot, (n,), by which some of ``config.views`` take features.
    config
        Hyper-parameters.
    units
        What further models hold out as a whole, (n,): this one is trained the same, and a checkpoint belongs to a
        reference with the same. None is the slide.
    encoder
        Turns patches into features and is trained; needed when the images are patches.
    random_state
        Seeds weights, batches, dropout and augmentation.
    device
        Where to train.
    checkpoint_dir
        Folder of a :class:`~bleep_sc.training.checkpoint.Checkpoint`, from which an interrupted training goes on.
    num_workers, on_epoch_end, show_progress_bar
        As in :func:`bleep_sc.training.loop.train`.

    Returns
    -------
    The model, and the mean loss of every epoch.
    """
    device = torch.device(device)
    config = replace(config, precision=_precision(config, device, trains_encoder=pairs.are_patches))
    with (
        joined(device) as processes,
        only_one(checkpoint_dir, processes),
        seeded(random_state, device) as generator,
    ):
        judged = judges(len(pairs), config.validation_fraction, generator)
        trained = np.setdiff1d(np.arange(len(pairs)), judged)
        size = min(len(trained), config.batch_size)  # of every batch
        if size < processes.n:
            raise ValueError(f"Batches of {size} spots cannot be shared out over {processes.n} processes; start fewer.")
        facts: dict[str, Any] = {}
        if checkpoint_dir is not None or processes.n > 1:
            how: dict[str, Any] = {"encoder": encoder, "random_state": random_state, "device": device}
            facts = fingerprint(pairs, groups, config, units=units, processes=processes, **how)
            processes.require_same(facts)
        seed(random_state, device)
        prepared = prepare(pairs, groups, config, random_state, processes)
        pairs, others = prepared.pairs, prepared.pairs[judged]
        if len(judged):
            pairs = pairs[trained]
        model = trained_on(pairs, prepared.widths, config, encoder).to(device).to(memory_format=memory_format(device))
        if processes.n > 1:
            model = _shared(model, processes)
            seed(random_state + processes.rank, device)  # every process drops out units of its own
        n_chunks = number_of_chunks(size, config.chunk_size, processes.n)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")

        feed = Feed(pairs, device)
        contrast = bleep_loss if config.soft_targets else clip_loss

        def contrasted(whole_batch: Iterable[Tensor]) -> Tensor:
            embeddings = (embedding.chunk(model.n_models, dim=1) for embedding in whole_batch)
            losses = [contrast(one, other, config.temperature) for one, other in zip(*embeddings, strict=True)]
            return torch.stack(losses).sum()  # the pairs of heads share nothing: each has its own gradients

        def loss(batch: Any) -> Tensor:
            image, expression = feed(batch)
            if pairs.are_patches:
                image = _augmented(image, config, generator, whole=size, first=processes.share(size).start)
            with autocast:
                shares = embed_in_chunks(model, image, expression, n_chunks)
            return contrasted(processes.gather(share.float(), size) for share in shares)  # (size, n_models * n_dims)

        def losses_of_judges() -> Iterator[Tensor]:
            for batch in batches_to_judge(others, size):
                image, expression = (transfer(each, device) for each in batch)
                n_parts = min(processes.n * n_chunks, len(image))  # as few spots at once as in training
                with autocast:
                    parts = embed_in_chunks(model, image, expression, n_parts)
                yield contrasted(part.float() for part in parts)

        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        kept = BestEpoch(model) if len(others) else None
        checkpoint = None if checkpoint_dir is None else Checkpoint(checkpoint_dir, kept or model, facts, processes)

        def after_epoch(epoch: int, value: float) -> bool:
            if kept is not None:
                kept.judge(epoch, losses_of_judges, processes)
            return on_epoch_end is not None and on_epoch_end(epoch, value)

        try:
            history = train(
                loss,
                optimizer,
                load=feed.load,
                n_samples=len(pairs),
                batch_size=config.batch_size,
                max_epochs=config.max_epochs,
                generator=generator,
                num_workers=num_workers if feed.rows is None else 0,  # there is nothing to read
                processes=processes,
                checkpoint=checkpoint,
                on_epoch_end=after_epoch,
                show_progress_bar=show_progress_bar,
            )
        except torch.OutOfMemoryError as error:
            clear_frames(error.__traceback__)  # they hold activations, and a notebook holds on to them
            error.add_note(_fewer_at_once(size // processes.n // n_chunks))
            raise
        if not np.isfinite(history).all():
            raise ValueError(
                f"Training diverged with FitConfig.learning_rate={config.learning_rate!r}; pass a smaller one."
            )
        if kept is not None:
            model = kept.best
            logger.info("Kept epoch %d of %d, by the loss on %d spots.", kept.epoch, len(history), len(others))
        processes.broadcast(model.state_dict().values())  # statistics that each process took of its own share
        return whole(model, prepared, config), history


def _augmented(image: Tensor, config: FitConfig, generator: torch.Generator, **part: int) -> Tensor:
    image = symmetries.augment(image, generator, **part)
    return stain_jitter.jitter(image, config.stain_jitter, generator, **part) if config.stain_jitter else image


def _fewer_at_once(n: int) -> str:
    if n <= 1:
        return "A single patch is too much for this GPU: take a smaller encoder, smaller patches, or devices='cpu'."
    return f"Pass FitConfig(chunk_size={n // 2}), or less: the loss still contrasts the whole batch."


def _precision(config: FitConfig, device: torch.device, *, trains_encoder: bool) -> Literal["float32", "bfloat16"]:
    if config.precision != "auto":
        return config.precision
    return "bfloat16" if trains_encoder and has_bfloat16(device) else "float32"


def _shared(model: Trainable, processes: Processes) -> Trainable:
    """Return the model as all processes start with it."""
    if next(model.parameters()).device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    processes.broadcast(model.state_dict().values())
    return model
