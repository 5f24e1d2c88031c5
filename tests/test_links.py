"""Links between pages lead somewhere, pages are in the table of contents, and what is claimed was measured."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import bleep_sc as bs
from bleep_sc.bm._methods import known_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated"} & set(path.parts))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|^```\{(?:figure|image|include)\} (\S+)", flags=re.MULTILINE)


def prose(page):
    """A page without its code blocks, which hold no links."""
    return re.sub(r"^```(?!\{).*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """What the headings of a page are called in links, on GitHub and by MyST."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


def links(page):
    return [one or other for one, other in LINK.findall(prose(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        target = (ROOT / target.relative_to(DOCS) if path.startswith("notebooks/") else target).resolve()
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text()
    listed = re.findall(
        r"^[\w/*]+$", "\n".join(re.findall(r"^```\{toctree\}(.*?)^```", index, re.DOTALL | re.MULTILINE)), re.MULTILINE
    )
    found = {path for entry in listed for path in DOCS.glob(f"{entry}.*") if path.suffix in (".md", ".ipynb")}
    pages = {page for page in PAGES if DOCS in page.parents and page.name != "index.md"}
    assert pages <= found
    folders = [ROOT if entry.startswith("notebooks/") else DOCS for entry in listed]  # notebooks are copied when built
    assert all(list(folder.glob(f"{entry}.*")) for folder, entry in zip(folders, listed, strict=True))


def table(page):
    """The rows of the front page's table."""
    return re.findall(r"^\| .*\|$", page.read_text(), flags=re.MULTILINE)


def test_the_readme_and_the_front_page_claim_the_same():
    rows = [row for row in table(DOCS / "index.md") if "BLEEP" in row or "location" in row or "ridge" in row]
    assert len(rows) == 4
    assert set(rows) <= set(table(ROOT / "README.md"))


CALLED = {
    "location copy": "| location copy |",
    "ridge regression, the best of ten": "| ridge",
    "BLEEP as published": "| BLEEP as published |",
    "**BLEEP, the default**": "| BLEEP, the default |",
}
"""Methods of the front page, and how rows of the benchmarks about donors begin that have their numbers."""


@pytest.mark.parametrize("label", CALLED)
def test_every_number_that_is_claimed_was_measured(label):
    (row,) = (row for row in table(DOCS / "index.md") if row.startswith(f"| {label} |"))
    whole = (DOCS / "benchmarks.md").read_text()
    section = whole[whole.index("## Another donor") : whole.index("## The table for a paper")]
    measured = [line for line in section.splitlines() if line.startswith(CALLED[label])]
    claimed = re.findall(r"\.\d{3}", row)
    assert len(claimed) == (3 if label == "location copy" else 5)
    for number in claimed:
        assert any(number in line for line in measured), number


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", DOCS / "index.md", DOCS / "concepts.md"], ids=lambda page: page.stem
)
def test_no_other_number_is_claimed(page):
    claimed = re.findall(r"(?<![\d.\w])\.\d{2,}", prose(page))
    assert set(claimed) <= set(re.findall(r"\.\d{3}", "".join(table(DOCS / "index.md"))))


def test_every_public_name_is_on_the_api_page():
    listed = set(re.findall(r"^ +(\w+\.\w+)$", (DOCS / "api.md").read_text(), flags=re.MULTILINE))
    for name in ("pp", "tl", "pl", "bm", "datasets", "metrics"):
        public = {f"{name}.{each}" for each in getattr(bs, name).__all__ if not each.isupper()}
        assert public <= listed, name


NOT_PUBLIC = {"cut", "fit_method", "folds", "linkage_of", "made_with", "paint"}
"""Functions that only the package calls, and that are named as public ones are."""


@pytest.mark.parametrize("name", ["pp", "tl", "pl", "bm", "datasets"])
def test_the_function_that_a_module_is_named_after_is_public(name):
    package = getattr(bs, name)
    for path in Path(package.__file__).parent.glob("_*.py"):
        defined = {each.name for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)}
        assert {path.stem[1:]} & defined <= {*package.__all__} | NOT_PUBLIC, path.name


def test_every_measure_is_public_and_tested():
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "metrics").glob("*.py"))
    tests = re.sub(r"^from \S+ import (?:\([^)]*\)|.*)$", "", tests, flags=re.MULTILINE)
    for path in Path(bs.metrics.__file__).parent.glob("[a-z]*.py"):
        defined = {each.name for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)}
        for name in (each for each in defined - NOT_PUBLIC if not each.startswith("_")):
            assert name in bs.metrics.__all__, name
            assert re.search(rf"\b{name}\b", tests), name


def test_every_method_to_compare_is_described():
    table = inspect.getdoc(bs.bm.methods).split("Parameters\n")[0]
    assert re.findall(r"^``(\w+)``", table, flags=re.MULTILINE) == known_names()


def test_every_reader_of_slides_is_in_the_design():
    table = (DOCS / "design.md").read_text().split("## Slides")[1].split("\n## ")[0]
    readers = {
        path.stem
        for path in Path(bs.slides.__file__).parent.glob("_*.py")
        if re.search(rf"^def open{path.stem}\(.*-> Slide:$", path.read_text(), flags=re.MULTILINE)
    }
    assert readers == set(re.findall(r"`(_\w+)`", "".join(re.findall(r"^\|.*\|$", table, flags=re.MULTILINE))))


def test_whatever_is_said_to_be_checked_has_its_test():
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (DOCS / "checks.md").read_text())
    assert len(named) > 30
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), (path, name)
