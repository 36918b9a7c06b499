"""References lead somewhere: every file and heading of the documentation that code, tests and documentation name is there."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")])
CODE = sorted(
    path for folder in ("src", "tests") for kind in ("py", "sql") for path in (ROOT / folder).rglob(f"*.{kind}")
)
CODE = [path for path in CODE if "node_modules" not in path.parts]

NAMED = re.compile(r"\bdocs/[\w./-]+\.md(?:#[\w-]+)?")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@cache
def anchors(path: Path) -> list[str]:
    """The anchors of a file's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCED.sub("", path.read_text()))
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def leads_nowhere(reference: str, base: Path) -> bool:
    name, _, anchor = reference.partition("#")
    target = (base / name).resolve()
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def test_named_documents_and_headings_exist() -> None:
    wrong = {
        path: [name for name in NAMED.findall(path.read_text()) if leads_nowhere(name, ROOT)] for path in [*CODE, *DOCS]
    }
    assert {path: names for path, names in wrong.items() if names} == {}


def test_links_lead_somewhere() -> None:
    wrong = []
    for path in DOCS:
        for link in LINK.findall(FENCED.sub("", path.read_text())):
            own = path.name + link if link.startswith("#") else link
            if "://" not in link and leads_nowhere(own, path.parent):
                wrong.append(f"{path}: {link}")
    assert wrong == []


def test_headings_of_the_contract_are_unique_in_their_file() -> None:
    for path in (ROOT / "docs" / "contract").glob("*.md"):
        found = anchors(path)
        assert len(found) == len(set(found)), path


def test_nothing_refers_to_documents_outside_the_repository() -> None:
    outside = re.compile(r"\(contract, |storage design|§\d")
    assert [str(path) for path in [*CODE, *DOCS] if path != Path(__file__) and outside.search(path.read_text())] == []
