"""Execute the notebooks in place, and keep of their outputs what belongs into a repository.

Figures are kept in 256 colours; times, versions and names of the machine are dropped. Notebooks run in a folder of
their own that is thrown away.

    BLEEP_SC_DATA=... python benchmarks/notebooks.py [notebooks/quickstart.ipynb ...]
"""

import argparse
import base64
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from pictures import few_colors

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> None:
    """Run one notebook, and write it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=None, resources={"metadata": {"path": folder}}).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = base64.b64encode(few_colors(base64.b64decode(data["image/png"]))).decode()
                data.pop("text/plain", None)  # <Figure size ...>
    nbformat.write(notebook, path)


def main() -> None:
    """Execute the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    for path in parser.parse_args().paths:
        execute(path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
