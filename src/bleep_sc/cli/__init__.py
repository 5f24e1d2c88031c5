"""The command line: ``bleep-sc demo``, ``benchmark``, ``tile`` and ``impute``."""

from __future__ import annotations

import logging

import click

import bleep_sc as bs
from bleep_sc._runtime import logger
from bleep_sc.cli._benchmark import benchmark
from bleep_sc.cli._demo import demo
from bleep_sc.cli._impute import impute, tile


class Commands(click.Group):
    """Commands whose errors are messages; ``--traceback`` shows where they come from."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (ValueError, KeyError, OSError, ImportError) as error:
            if ctx.params["traceback"]:
                raise
            message = error.args[0] if isinstance(error, KeyError) else error
            raise click.ClickException(f"{message}\n(bleep-sc --traceback ... shows where this comes from.)") from error


@click.group(cls=Commands)
@click.version_option(bs.__version__)
@click.option("--traceback", is_flag=True, help="Show where an error comes from.")
def main(traceback: bool) -> None:
    """Read spatially resolved gene expression off H&E histology."""
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)


for command in (demo, benchmark, tile, impute):
    main.add_command(command)
