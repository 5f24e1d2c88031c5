"""The entry for the registry of scverse says what the package says, and holds what the registry asks for."""

import tomllib
from pathlib import Path

import yaml

import bleep_sc

ROOT = Path(__file__).parents[1]
REQUIRED = {
    "name",
    "description",
    "project_home",
    "documentation_home",
    "install",
    "license",
    "tags",
    "version",
    "category",
    "contact",
}


def test_entry():
    entry = yaml.safe_load((ROOT / "docs" / "ecosystem" / "meta.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(entry) >= REQUIRED
    assert entry["version"] == bleep_sc.__version__
    assert entry["license"] == project["license"]
    assert entry["install"]["pypi"] == project["name"]
    assert entry["project_home"] == project["urls"]["Source"]
    assert entry["documentation_home"] == project["urls"]["Documentation"]
    assert len(set(entry["tags"])) == len(entry["tags"]) >= 1
    assert entry["contact"]
