"""A process that trains with others: ``torch.distributed.run ... -m bleep_sc.training.processes.worker FOLDER``."""

import os
import sys
import threading
import time
import traceback
from pathlib import Path

from bleep_sc.training.processes.task import read_task, write_result
from bleep_sc.training.reference import fit_reference

PROGRESS = "progress"
"""A file that grows by a byte with every epoch."""


def main(folder: Path) -> None:
    """Train on what lies in a folder; the first process leaves the result there, and any its traceback."""
    rank = int(os.environ["RANK"])
    try:
        task = read_task(folder)
        threading.Thread(target=_watch, args=(folder, task.launcher), daemon=True).start()
        trained = fit_reference(
            task.pairs,
            task.groups,
            config=task.config,
            units=task.units,
            centers_um=task.centers_um,
            encoder=task.encoder,
            device=task.devices[int(os.environ["LOCAL_RANK"])],
            on_epoch_end=lambda epoch, loss: _note_epoch(folder) if rank == 0 else False,
            show_progress_bar=False,
            **task.how,
        )
        if rank == 0:
            write_result(folder, trained)
    except BaseException:
        (folder / f"traceback{rank}").write_text(traceback.format_exc())
        raise


def _note_epoch(folder: Path) -> bool:
    with (folder / PROGRESS).open("ab") as file:
        file.write(b".")
    return False


def _watch(folder: Path, launcher: int) -> None:
    """End this process when nobody waits for it any more, however that came about."""
    while folder.is_dir() and _is_alive(launcher):
        time.sleep(0.5)
    os._exit(1)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):  # the latter is another one's, which has its number now
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
