"""References lead somewhere: every file and heading of the documentation that code, tests and documentation name is there."""

import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
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

CODE_SPAN = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"([\w*-]+(?:/[\w.*-]+)*\.(?:py|sql)|[\w*-]+(?:/[\w*-]+)*/)(?:: (\w+))?")
MEMBER = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)\.([A-Z]\w*)")
METHOD = re.compile(r"([A-Z]\w*[a-z]\w*)\.(?!md\b|for\b)(_?[a-z]\w*)(?:\(\))?")
ELSEWHERE = {"setup.py", "bare.py", "baseline.py", "stall.py", "shared/bench/long_chat.py"}


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


def spans(path: Path) -> list[str]:
    """The code spans of a page."""
    return CODE_SPAN.findall(FENCED.sub("", path.read_text()))


def places(name: str, page: Path) -> list[Path]:
    """The files and folders that a name on a page stands for: in the repository, in `src/threadloom/`, or beside the page.

    A `*` stands for any name.
    """
    return [
        path for base in (ROOT, ROOT / "src" / "threadloom", page.parent) for path in base.glob(name.removesuffix("/"))
    ]


def test_named_source_files_and_folders_exist() -> None:
    """Also a name in such a file: `storage/named.py: bound`."""
    wrong = []
    for page in DOCS:
        for found in filter(None, map(FILE.fullmatch, spans(page))):
            name, member = found.groups()
            there = places(name, page)
            if name in ELSEWHERE or (there and (not member or any(member in path.read_text() for path in there))):
                continue
            wrong.append(f"{page}: {found[0]}")
    assert wrong == []


def test_named_classes_and_constants_of_modules_exist() -> None:
    """`codec.ResponseBody` is a member of the module `threadloom.codec`."""
    wrong = []
    for page in DOCS:
        for found in filter(None, map(MEMBER.fullmatch, spans(page))):
            module = "threadloom." + found[1]
            if places(found[1].split(".")[0] + "*", page) and not (
                find_spec(module) and hasattr(import_module(module), found[2])
            ):
                wrong.append(f"{page}: {found[0]}")
    assert wrong == []


def test_named_methods_exist() -> None:
    """`Worker._abort` is in a file that has both names."""
    sources = [path.read_text() for path in CODE if path.suffix == ".py" and "src" in path.parts]
    wrong = []
    for page in DOCS:
        for found in filter(None, map(METHOD.fullmatch, spans(page))):
            class_name, method = (re.compile(rf"\b{name}\b") for name in found.groups())
            if not any(class_name.search(text) and method.search(text) for text in sources):
                wrong.append(f"{page}: {found[0]}")
    assert wrong == []


def test_headings_of_the_contract_are_unique_in_their_file() -> None:
    for path in (ROOT / "docs" / "contract").glob("*.md"):
        found = anchors(path)
        assert len(found) == len(set(found)), path


def test_nothing_refers_to_documents_outside_the_repository() -> None:
    outside = re.compile(r"\(contract, |storage design|§\d")
    assert [str(path) for path in [*CODE, *DOCS] if path != Path(__file__) and outside.search(path.read_text())] == []
