"""Docstrings as the pages show them, where Napoleon would show something else."""

import re

RETURNS = ("Returns", "Yields")


def keep_colons(app, what, name, obj, options, lines):
    """Keep what stands before a colon: Napoleon takes it for the type of an attribute."""
    if what == "attribute" and lines:
        lines.insert(0, "")


def keep_sentences(app, what, name, obj, options, lines):
    """Keep what is returned as it is written: Napoleon makes a value of every line.

    Sentences, tables and names, as numpydoc has them, are reStructuredText already:
    the types of names are classifiers.
    """
    for section in RETURNS:
        header = [section, "-" * len(section)]
        starts = (i for i in range(len(lines)) if lines[i : i + 2] == header)
        start = next(starts, None)
        if start is None:
            continue
        rest = lines[start + 2 :]
        ends = (
            i for i, line in enumerate(rest[1:]) if line and set(line) == {"-"} and rest[i]
        )
        end = next(ends, len(rest))
        first, *others = "\n".join(rest[:end]).strip().split("\n")
        field = f":{section.lower()}: "
        shown = [
            field + first,
            *(" " * len(field) + line if line else "" for line in others),
        ]
        # Two blank lines end the section before.
        lines[start : start + 2 + end] = ["", "", *shown, ""]


def keep_code(app, what, name, obj, options, lines):
    """Keep the names of what is returned in code: Napoleon makes them bold as well."""
    lines[:] = [re.sub(r"\*\*(``[^*]+``)\*\*", r"\1", line) for line in lines]


def setup(app):
    """Change docstrings before and after Napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)
    app.connect("autodoc-process-docstring", keep_code, priority=600)
