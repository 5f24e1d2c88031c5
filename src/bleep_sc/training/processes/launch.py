"""Start the processes that train together, from a notebook or a script, and wait for their result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bleep_sc._output.messages import progress
from bleep_sc.training.estimate import Estimate, epochs_in_all
from bleep_sc.training.processes.task import read_result, write_task
from bleep_sc.training.processes.worker import PROGRESS
from bleep_sc.training.validation import MAX_FOLDS, folds, holds_out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bleep_sc.models.encoders import Encoder
    from bleep_sc.training.config import FitConfig
    from bleep_sc.training.pairs import Pairs
    from bleep_sc.training.reference import Trained

POLL_S, GRACE_S = 0.1, 10.0
"""How often to look for progress, and how long processes have to end when they are told to."""


def fit_in_processes(
    pairs: Pairs,
    groups: NDArray[np.str_],
    *,
    devices: list[torch.device],
    config: FitConfig,
    units: NDArray[np.str_] | None = None,
    centers_um: NDArray[np.float64] | None = None,
    encoder: Encoder | None = None,
    random_state: int = 0,
    num_workers: int = 0,
    checkpoint_dir: str | Path | None = None,
    show_progress_bar: bool = True,
) -> Trained:
    """Train on a reference in one process a device, as :func:`bleep_sc.training.reference.fit_reference` does in one.

    The processes are children of ``torch.distributed.run``, which needs neither a guarded script nor a process without
    an earlier CUDA call. Data and result go through files in a temporary folder, and nothing is pickled.

    Raises
    ------
    RuntimeError
        With the traceback of the process that failed first. None of the others is left behind, nor when the call is
        interrupted.
    """
    if sys.platform == "win32":
        raise NotImplementedError("Processes that train together are not started on Windows; pass devices='cuda:0'.")
    if encoder is not None and not encoder.name:
        raise ValueError(
            "Other processes cannot build an encoder that was given as a module. Pass its name as encoder=, train on "
            "one device (devices='cuda:0'), or start the script by torchrun, where every process has the module."
        )
    units = groups if units is None else units
    with tempfile.TemporaryDirectory(prefix="bleep_sc-") as name:
        folder = Path(name)
        write_task(
            folder,
            pairs,
            groups,
            units=units,
            centers_um=centers_um,
            config=config,
            encoder=encoder,
            devices=[str(device) for device in devices],
            random_state=random_state,
            num_workers=num_workers,
            checkpoint_dir=None if checkpoint_dir is None else str(Path(checkpoint_dir).absolute()),
        )
        n_models = 1 + (len(folds(units, MAX_FOLDS, random_state)) if holds_out(config, units) else 0)
        in_all = epochs_in_all(config, units, random_state, trains_encoder=pairs.are_patches)
        _run(folder, len(devices), n_models * config.max_epochs, Estimate(in_all), show_progress_bar)
        return read_result(folder, pairs, config, encoder)


def _run(folder: Path, n: int, n_epochs: int, estimate: Estimate, show_progress_bar: bool) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    command = [*launcher, f"--nproc-per-node={n}", "-m", "bleep_sc.training.processes.worker", str(folder)]
    environment: dict[str, Any] = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // n)), **os.environ}
    bar = progress(range(n_epochs), f"Training in {n} processes", show=show_progress_bar)
    with (folder / "output").open("wb") as output, bar:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(POLL_S)
                if (folder / PROGRESS).is_file():
                    n_done = (folder / PROGRESS).stat().st_size
                    bar.update(n_done - bar.n)
                    estimate.after(n_done)
        finally:
            _stop(process)
    if process.returncode:
        raise RuntimeError(f"Training in {n} processes failed. {_reason(folder)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the launcher, which ends its processes; what outlives it ends by itself when the folder is gone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _reason(folder: Path) -> str:
    """Return the traceback that was written first, since others fail for want of the one that did."""
    said = "\n".join((folder / "output").read_text(errors="replace").splitlines()[-30:])
    tracebacks = sorted(folder.glob("traceback*"), key=lambda file: file.stat().st_mtime_ns)
    if tracebacks:
        rank = tracebacks[0].name.removeprefix("traceback")
        return f"Process {rank} ended with:\n\n{tracebacks[0].read_text()}\nThe launcher said:\n\n{said}"
    return f"A process was killed, or could not start. The launcher said:\n\n{said}"
