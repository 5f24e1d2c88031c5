"""What is packaged elsewhere asks for what the wheel asks for."""

import re
import tomllib
from pathlib import Path

import pytest

import bleep_sc as bs

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OF_CONDA = {"igraph": "python-igraph", "matplotlib": "matplotlib-base", "torch": "pytorch"}
"""What packages are called on conda-forge that have other names there."""


def test_the_recipe_of_conda_asks_for_the_same():
    recipe = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text())
    asked = [re.sub(r"\[.*\]", "", each) for each in PROJECT["dependencies"]]
    wanted = {OF_CONDA.get(name, name) + " " + bound for name, bound in (re.split(r"(?=>=)", each) for each in asked)}
    assert set(recipe["requirements"]["run"][1:]) == wanted
    assert recipe["context"]["version"] == bs.__version__
    assert recipe["build"]["python"]["entry_points"] == [f"bleep-sc = {PROJECT['scripts']['bleep-sc']}"]


@pytest.mark.parametrize("file", ["CITATION.cff", "docs/ecosystem/meta.yaml"])
def test_other_files_say_the_version(file):
    assert str(yaml.safe_load((ROOT / file).read_text())["version"]) == bs.__version__
