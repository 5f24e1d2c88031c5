"""The command line: ``bleep-sc demo``, ``benchmark``, all from ``prepare`` to ``index``, and ``share`` and ``check``.

It reads files, calls what a notebook would call, and writes files.
"""

from __future__ import annotations

import logging

import click

import bleep_sc as bs
from bleep_sc._output.messages import logger
from bleep_sc.cli._benchmark import benchmark
from bleep_sc.cli._check import check
from bleep_sc.cli._demo import demo
from bleep_sc.cli._embed import embed
from bleep_sc.cli._features import features
from bleep_sc.cli._fit import fit
from bleep_sc.cli._impute import impute
from bleep_sc.cli._index import index
from bleep_sc.cli._page import page
from bleep_sc.cli._prepare import prepare
from bleep_sc.cli._processes import FAILURES, message
from bleep_sc.cli._share import share
from bleep_sc.cli._spoken import Spoken, plain_warnings
from bleep_sc.cli._tile import tile

SENTENCE = 1000
"""Letters of the longest sentence that the list of commands shows."""


class Commands(click.Group):
    """Commands in the order of the work, whose errors are messages; ``--traceback`` shows where they come from."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, as they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence of every command, all of it."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(limit=SENTENCE)) for name, each in self.commands.items()]
            )

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except FAILURES as error:
            if ctx.params["traceback"]:
                raise
            hint = "(bleep-sc --traceback ... shows where this comes from.)"
            command = self.commands.get(ctx.invoked_subcommand or "")
            raise click.ClickException(f"{message(error, command)}\n{hint}") from error


@click.group(cls=Commands)
@click.version_option(bs.__version__)
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Read spatially resolved gene expression off H&E histology."""
    handler = logging.StreamHandler()
    handler.setFormatter(Spoken("%(message)s"))
    logging.basicConfig(handlers=[handler])
    logger.setLevel(logging.INFO)


for command in (demo, benchmark, prepare, tile, features, fit, embed, impute, page, index, share, check):
    main.add_command(command)
