"""A training as files: what the processes that train together are given, and what they give back."""

from __future__ import annotations

import copy
import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
from scipy import sparse

from bleep_sc._arrays.sparse_rows import SparseRows
from bleep_sc._arrays.unread import batches_of
from bleep_sc._output.disk import require_room
from bleep_sc._output.room import room
from bleep_sc.models.encoders import Encoder, load_encoder
from bleep_sc.models.fitted import apart
from bleep_sc.slides._lazy import StoredPatches
from bleep_sc.training.architecture import heads
from bleep_sc.training.config import FitConfig
from bleep_sc.training.cross_fit import HeldOut
from bleep_sc.training.pairs import Pairs
from bleep_sc.training.reference import Trained

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc._arrays.unread import Unread

TASK, RESULT = "task.json", "result.json"
OF_SPARSE = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Task:
    """What a process is given."""

    pairs: Pairs
    groups: NDArray[np.str_]
    units: NDArray[np.str_]
    centers_um: NDArray[np.float64] | None
    config: FitConfig
    encoder: Encoder | None
    devices: list[str]
    """Device of every process."""
    launcher: int
    """Process that waits for the result."""
    how: dict[str, Any]
    """Other arguments of :func:`bleep_sc.training.reference.fit_reference`."""


def write_task(
    folder: Path,
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    units: NDArray[np.str_],
    centers_um: NDArray[np.float64] | None,
    config: FitConfig,
    encoder: Encoder | None,
    devices: list[str],
    **how: Any,
) -> None:
    """Write all that the processes need; patches that are in a store stay there."""
    _write_images(folder, pairs.images)
    _write_expression(folder, pairs.expression)
    np.save(folder / "groups.npy", groups)
    np.save(folder / "units.npy", units)
    if centers_um is not None:
        np.save(folder / "centers_um.npy", centers_um)
    description = None
    if encoder is not None:
        description = {"name": encoder.name, "fingerprint": encoder.fingerprint()}
        (folder / "encoder.safetensors").write_bytes(_weights(encoder))
    stores = pairs.images.paths if isinstance(pairs.images, StoredPatches) else None
    task = {
        "stores": None if stores is None else [str(Path(path).absolute()) for path in stores],
        "config": asdict(config),
        "encoder": description,
        "devices": devices,
        "launcher": os.getpid(),
        "how": how,
    }
    (folder / TASK).write_text(json.dumps(task))


def read_task(folder: Path) -> Task:
    """Read what :func:`write_task` wrote; arrays stay on disk until they are needed."""
    task = json.loads((folder / TASK).read_text())
    images: Any
    if task["stores"] is None:
        images = _opened(folder / "images.npy")
        task["how"]["num_workers"] = 0  # nothing to read ahead, and all of it would be copied to every reader
    else:
        images = StoredPatches(tuple(task["stores"]), np.load(folder / "which.npy"), np.load(folder / "rows.npy"))
    encoder = None
    if task["encoder"] is not None:
        encoder = load_encoder(task["encoder"]["name"], pretrained=False)
        encoder.load_state_dict(safetensors.torch.load((folder / "encoder.safetensors").read_bytes()))
        if encoder.fingerprint() != task["encoder"]["fingerprint"]:
            raise ValueError(
                f"The encoder is not {task['encoder']['name']!r} as bleep_sc.models.load_encoder builds it, so other "
                "processes cannot have it. Train on one device, devices='cuda:0', or start the script by torchrun."
            )
    return Task(
        pairs=Pairs(images, _read_expression(folder)),
        groups=np.load(folder / "groups.npy"),
        units=np.load(folder / "units.npy"),
        centers_um=np.load(folder / "centers_um.npy") if (folder / "centers_um.npy").is_file() else None,
        config=FitConfig(**task["config"]),
        encoder=encoder,
        devices=task["devices"],
        launcher=task["launcher"],
        how=task["how"],
    )


def write_result(folder: Path, trained: Trained) -> None:
    """Write the model, its history and what was held out."""
    (folder / "model.safetensors").write_bytes(_weights(trained.model))
    if trained.held_out is not None:
        np.savez(
            folder / "held_out.npz",
            **{each.name: getattr(trained.held_out, each.name) for each in fields(HeldOut)},
        )
    model = trained.model
    result = {"loss": trained.loss, "n_features": model.n_features, "views": model.views}
    (folder / RESULT).write_text(json.dumps(result))


def read_result(folder: Path, pairs: Pairs, config: FitConfig, encoder: Encoder | None) -> Trained:
    """Read what :func:`write_result` wrote, on the CPU."""
    result = json.loads((folder / RESULT).read_text())
    copied = None if encoder is None else copy.deepcopy(encoder).cpu()
    shape = result["n_features"], pairs.expression.shape[1]
    model = heads(*shape, config, result["views"], encoder=copied)
    model.load_state_dict(safetensors.torch.load((folder / "model.safetensors").read_bytes()))
    held_out = None
    if (folder / "held_out.npz").is_file():
        with np.load(folder / "held_out.npz") as arrays:
            held_out = HeldOut(**{name: each if each.ndim else each.item() for name, each in arrays.items()})
    return Trained(model.eval(), result["loss"], held_out)


def _write_expression(folder: Path, expression: NDArray[np.float32] | SparseRows) -> None:
    if isinstance(expression, SparseRows):
        np.save(folder / "shape.npy", expression.shape)
        for name in OF_SPARSE:
            np.save(folder / f"{name}.npy", getattr(expression.stored, name))
    else:
        np.save(folder / "expression.npy", expression)


def _read_expression(folder: Path) -> NDArray[np.float32] | SparseRows:
    if not (folder / "shape.npy").is_file():
        return _opened(folder / "expression.npy")
    stored = tuple(_opened(folder / f"{name}.npy") for name in OF_SPARSE)
    return SparseRows(sparse.csr_matrix(stored, tuple(np.load(folder / "shape.npy")), copy=False))


def _write_images(folder: Path, images: NDArray[Any] | Unread) -> None:
    if isinstance(images, StoredPatches):
        np.save(folder / "which.npy", images.which)
        np.save(folder / "rows.npy", images.rows)
        return
    dtype = images.dtype if isinstance(images, np.ndarray) else np.dtype(np.uint8)
    n_bytes = math.prod(images.shape) * dtype.itemsize
    with room(lambda: f"Processes are given patches in {tempfile.gettempdir()!r}: set TMPDIR to a larger disk."):
        require_room(folder, n_bytes, "The copy of the images")
    file = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=dtype, shape=images.shape)
    for rows, batch in batches_of(images, 256):
        file[rows] = batch
    file.flush()


def _opened(path: Path) -> Any:
    return np.load(path, mmap_mode="c")  # never written to, but torch warns of arrays that cannot be


def _weights(module: nn.Module) -> bytes:
    return safetensors.torch.save(apart(module.state_dict()))
