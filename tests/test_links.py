"""Links between pages lead somewhere, pages are in the table of contents, and what is claimed was measured."""

import re
from pathlib import Path

import pytest

import bleep_sc as bs

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
    "location copy": "location copy",
    "ridge regression": "ridge regression",
    "BLEEP as published": "`paper()`, one view",
    "**BLEEP, the default**": "default",
}
"""Methods of the front page, and what the rows of the benchmarks call them."""


@pytest.mark.parametrize("label", CALLED)
def test_every_number_that_is_claimed_was_measured(label):
    (row,) = (row for row in table(DOCS / "index.md") if row.startswith(f"| {label} |"))
    measured = [line for line in (DOCS / "benchmarks.md").read_text().splitlines() if CALLED[label] in line]
    claimed = re.findall(r"\.\d{3}", row)
    assert len(claimed) == 2
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
