"""``python -m bleep_sc``: the command line."""

from bleep_sc.cli import main

main(prog_name="bleep-sc")
