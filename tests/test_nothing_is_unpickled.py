"""No file is ever unpickled: a reference, a model or a checkpoint of a stranger cannot run code."""

import ast
from pathlib import Path

import pytest

import bleep_sc

SOURCE = Path(bleep_sc.__file__).parent
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {
    "torch.load",
    "torch.jit.load",
    "torch.save",
    "pd.read_pickle",
    "pandas.read_pickle",
    "yaml.load",
    "eval",
    "exec",
}


def unpickling(tree):
    """Lines that import a pickling module, or call what unpickles or runs text; numpy does so only when asked to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [module] if module else [each.name for each in node.names]
            if {str(name).split(".")[0] for name in names} & MODULES:
                yield node.lineno
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            allowed = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if name in CALLS or allowed.get("allow_pickle", "False") != "False":
                yield node.lineno


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(file)",
        "np.load(file, allow_pickle=True)",
    ],
)
def test_the_search_finds_it(text):
    assert list(unpickling(ast.parse(text))) == [1]


def test_no_module_unpickles():
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 100
    found = [f"{file.relative_to(SOURCE)}:{line}" for file in files for line in unpickling(ast.parse(file.read_text()))]
    assert found == []
