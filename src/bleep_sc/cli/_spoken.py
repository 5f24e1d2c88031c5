"""Messages of functions as the command line says them: its options for arguments, its commands for calls."""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from bleep_sc.training.config import FitConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ALSO = {
    "key_added": "key",
    "model_key": "key",
    "n_seeds": "seeds",
    "names": "methods",
    "path": "out",
    "random_state": "seed",
    "spacing_um": "spacing",
    "store": "out",
    "use_rep": "encoder",
}
"""Arguments that an option of another name is passed on as."""
COMMANDS = {
    "models.list_encoders": "features --list-encoders",
    "pp.image_features": "features",
    "pp.tile_slide": "tile",
    "tl.embed": "embed",
    "tl.fit": "fit",
    "tl.share_reference": "share",
}
BOTH = r"(?:\ba mapping\b[^()]*?|\b\w+=(?:\{[^{}]*\})?)\s*\(on the command line ([^()]*)\)"
"""Python, and in brackets what is said here instead."""
TWICE = r"(--[\w-]+) \(\1\)"
CALL = r"(?P<call>[A-Za-z_][\w.]*\((?:[^()]|\([^()]*\))*\))"


def spoken(text: str, command: click.Command) -> str:
    """Say options of a command instead of the arguments that they are passed on as; other names stay.

    Inside of calls names stay, too: a call is Python, unless there is a command for it and nothing but data is passed.
    """
    text = re.sub(BOTH, r"\1", text)
    options = _options(command)
    names = "|".join(sorted(map(re.escape, options), key=len, reverse=True)) or "(?!)"
    pattern = rf"{CALL}|(?<![\w.\-])(?:FitConfig\.)?(?P<name>{names})=(?!\[)(?P<value>(?=[^\s,.;:)]))?"
    return re.sub(TWICE, r"\1", re.sub(pattern, lambda found: _said(found, options), text))


class Spoken(logging.Formatter):
    """The log, spoken in the options of the command that runs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return what a record says."""
        return here(super().format(record))


def here(text: str) -> str:
    """Say a text in the options of the command that runs, if one does."""
    context = click.get_current_context(silent=True)
    return text if context is None else spoken(text, context.command)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings as a line each, without the place in the code, and each of them once."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = here(str(message))
        if text not in seen:
            seen.add(text)
            click.echo(f"Warning: {text}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _options(command: click.Command) -> Mapping[str, str]:
    """Return the option for every argument that has one."""
    own = {
        each.name: max(each.opts, key=len) for each in command.params if isinstance(each, click.Option) and each.name
    }
    also = {name: own[other] for name, other in ALSO.items() if other in own}
    settings = {each.name: f"--set {each.name}" for each in fields(FitConfig)} if "settings" in own else {}
    return {**settings, **also, **own}


def _said(found: re.Match[str], options: Mapping[str, str]) -> str:
    if found["call"] is not None:
        name, _, given = found["call"].partition("(")
        command = COMMANDS.get(name.removeprefix("bleep_sc."))
        return found["call"] if command is None or "=" in given else f"bleep-sc {command}"
    return options[found["name"]] + ("" if found["value"] is None else "=")
