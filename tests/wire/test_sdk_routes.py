"""Every path that the Python SDK calls is a route here."""

import ast
import re
from pathlib import Path

import langgraph_sdk
import pytest

from threadloom.api.docs import all_operations

CLIENTS = sorted((Path(langgraph_sdk.__file__).parent / "_async").glob("*.py"))
METHODS = {"get": "GET", "post": "POST", "put": "PUT", "patch": "PATCH", "delete": "DELETE", "stream": None}


def template(node):
    """The path of a call as a pattern: `/threads/{}/runs`. None: it is not written down in the call."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def calls():
    """Method and path of each call of `self.http` in the SDK."""
    found = set()
    for file in CLIENTS:
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            through = node.func.value
            if isinstance(through, ast.Attribute) and through.attr == "http" and node.func.attr in METHODS:
                path = template(node.args[0])
                if path is not None and path.startswith("/"):
                    method = METHODS[node.func.attr] or (template(node.args[1]) if len(node.args) > 1 else "POST")
                    found.add((method, path.partition("?")[0]))
    return sorted(found)


def test_the_sdk_is_read():
    assert len(calls()) > 40


@pytest.mark.parametrize(("method", "path"), calls())
def test_a_path_of_the_sdk_is_a_route(method, path):
    routes = {(one.method, re.sub(r"\{[^}]*\}", "{}", one.path)) for one in all_operations()}
    assert (method, path) in routes
