"""Sphinx configuration."""

import shutil
import sys
from pathlib import Path

from bleep_sc import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for docstrings.py
# They stand beside docs/.
shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks", dirs_exist_ok=True)

project = "bleep_sc"
author = "bleep_sc developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "docstrings",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_rtype = False
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

html_theme = "sphinx_book_theme"
python_maximum_signature_line_length = 60  # or else one parameter a line
html_title = "bleep_sc"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
# The search stands in the sidebar.
html_theme_options = {"show_toc_level": 2, "navbar_persistent": []}
