"""Commands in several processes: which of them writes, who takes which slide, and what failed."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

import click

from bleep_sc._output.messages import logger
from bleep_sc.cli._spoken import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILURES = (ValueError, KeyError, OSError, ImportError, RuntimeError, MemoryError)
"""Errors whose message says what to do."""


def message(error: BaseException, command: click.Command | None) -> str:
    """Return what an error says, with what was noted about it, in the options of a command."""
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = "\n".join([str(said), *getattr(error, "__notes__", [])])
    return text if command is None else spoken(text, command)


def require_alone(what: str) -> None:
    """Refuse several processes where there is work for one."""
    from bleep_sc.training.processes.shares import step

    n = step()[1]
    if n > 1:
        raise click.UsageError(f"{n} processes were started for {what}, which is work for one. Start one process.")


def first_of_group() -> bool:
    """Tell whether this process writes and logs: it is alone, or the first of those that work on one thing."""
    from bleep_sc.training.processes.shares import require_meeting, step

    require_meeting()
    number, _ = step()
    if number > 0:
        logger.setLevel(logging.WARNING)
    return number == 0


def work_through(names: Sequence[str], work: Callable[[int], None], is_done: Callable[[int], bool]) -> None:
    """Work on slides one by one: all of them, or, under torchrun, the share of this process.

    Which are its own depends on their place in the list alone, so that no two processes take one, whatever is done.
    Slides that fail stop no others, and are named at the end.
    """
    from bleep_sc.training.processes.shares import require_meeting, step, together

    require_meeting()
    number, n = step()
    mine, failed = range(number, len(names), n), []
    context = click.get_current_context(silent=True)
    command = None if context is None else context.command
    with together():
        for i in mine:
            done = is_done(i)
            click.echo(f"[{i + 1}/{len(names)}] {names[i]}" + (": done before" if done else ""))
            try:
                if not done:
                    work(i)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one slide, the others go on
                failed.append(names[i])
                kind = "" if isinstance(error, FAILURES) else f"{type(error).__name__}: "
                click.echo(f"{names[i]} failed: {kind}{message(error, command)}", err=True)
            gc.collect()  # figures and tables hold themselves: large, but too few objects for Python to look for soon
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(mine)} slides failed: {', '.join(failed)}. Call again.")
