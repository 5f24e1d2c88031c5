"""The command line: ``bleep-sc demo``, ``benchmark``, ``tile``, ``features``, ``fit``, ``embed`` and ``impute``.

It reads files, calls what a notebook would call, and writes files.
"""

from __future__ import annotations

import logging

import click

import bleep_sc as bs
from bleep_sc._output.messages import logger
from bleep_sc.cli._benchmark import benchmark
from bleep_sc.cli._demo import demo
from bleep_sc.cli._embed import embed
from bleep_sc.cli._features import features
from bleep_sc.cli._fit import fit
from bleep_sc.cli._impute import impute, tile
from bleep_sc.cli._processes import FAILURES, message


class Commands(click.Group):
    """Commands whose errors are messages; ``--traceback`` shows where they come from."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except FAILURES as error:
            if ctx.params["traceback"]:
                raise
            hint = "(bleep-sc --traceback ... shows where this comes from.)"
            raise click.ClickException(f"{message(error)}\n{hint}") from error


@click.group(cls=Commands)
@click.version_option(bs.__version__)
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Read spatially resolved gene expression off H&E histology."""
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)


for command in (demo, benchmark, tile, features, fit, embed, impute):
    main.add_command(command)
