"""Every method of every protocol in `src/` says what it takes and gives: implementations refer to it."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def protocols(path: Path) -> list[ast.ClassDef]:
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    return [one for one in classes if any(ast.unparse(base).partition("[")[0] == "Protocol" for base in one.bases)]


def test_every_method_of_a_protocol_has_a_docstring() -> None:
    checked, missing = 0, []
    for path in sorted(SOURCE.rglob("*.py")):
        for protocol in protocols(path):
            for method in protocol.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    checked += 1
                    if not ast.get_docstring(method):
                        missing.append(f"{path.relative_to(SOURCE)}: {protocol.name}.{method.name}")
    assert missing == []
    assert checked > 150
