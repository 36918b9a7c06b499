"""Every class name stands for one thing."""

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
PROTOCOLS: frozenset[str] = frozenset()
"""Names of protocols that have the name of their one implementation."""


def test_no_class_name_is_defined_in_two_modules():
    modules = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(path.relative_to(SOURCE).as_posix())
    assert {name: found for name, found in modules.items() if len(found) > 1 and name not in PROTOCOLS} == {}
