"""Readable forms of the OpenAPI description: the page at `/docs` and the file `docs/api.md`."""

from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border: 1px solid #8884; border-radius: 6px; margin: .3rem 0; padding: .3rem .6rem; }
summary { cursor: pointer; } code, pre { font: 13px/1.4 ui-monospace, monospace; }
pre { overflow: auto; background: #8881; padding: .6rem; border-radius: 6px; }
.method { display: inline-block; width: 4.5rem; font-weight: 600; } .text { color: #888; margin-left: .6rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
"""


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields method, path and description of every operation, in the document's order."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and "responses" in operation:
                yield method.upper(), path, operation


def page(document: dict[str, Any]) -> str:
    """Returns the description as one HTML page that loads no other resource."""
    tags: dict[str, list[str]] = {}
    for method, path, operation in operations(document):
        tag = (operation.get("tags") or ["Own routes"])[0]
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{escape(text)}</td></tr>"
            for name, kind, text in _fields(document, operation)
        )
        answers = ", ".join(
            f"{code} {response.get('description', '')}" for code, response in operation["responses"].items()
        )
        tags.setdefault(tag, []).append(
            f'<details><summary><span class="method">{method}</span><code>{escape(path)}</code>'
            f'<span class="text">{escape(operation.get("summary", ""))}</span></summary>'
            f"<table>{rows}</table><p>{escape(answers)}</p></details>"
        )
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    server = escape(document["servers"][0]["url"])
    parts = "".join(f"<h2>{escape(tag)}</h2>{''.join(found)}" for tag, found in tags.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
        f'<body><h1>{title}</h1><p>Served at <code>{server}</code>. For machines: <a href="openapi.json">openapi.json</a>.</p>'
        f"{parts}</body></html>"
    )


def markdown(document: dict[str, Any]) -> str:
    """Returns the description as Markdown, for `docs/api.md`."""
    lines = [
        "# The HTTP interface",
        "",
        "Made from the route table by `python -m threadloom.api.docs`; a test fails when it is out of date.",
        "A running server shows the same at `/docs`, and for machines at `/openapi.json`.",
    ]
    tags: dict[str, list[str]] = {}
    for method, path, operation in operations(document):
        part = tags.setdefault(operation["tags"][0], [])
        part += ["", f"### `{method} {path}`", "", f"{operation['summary']}.", ""]
        fields = list(_fields(document, operation))
        if fields:
            part += ["| Field | Type | Meaning |", "|---|---|---|"]
            part += [f"| `{name}` | {kind.replace('|', chr(92) + '|')} | {text} |" for name, kind, text in fields]
            part.append("")
        part.append("Answers: " + ", ".join(operation["responses"]) + ".")
    for tag, part in tags.items():
        lines += ["", f"## {tag}", *part]
    return "\n".join(lines) + "\n"


def _fields(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yields name, type and meaning of each parameter and of each field of the body."""
    for param in operation.get("parameters", []):
        needed = ", required" if param.get("required") else ""
        yield param["name"], f"{param['in']}, {kind(param.get('schema', {}))}{needed}", param.get("description", "")
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    schema = schema.get("items", schema)
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    for name, field in schema.get("properties", {}).items():
        needed = ", required" if name in schema.get("required", []) else ""
        texts = [field.get("description", ""), *(one.get("description", "") for one in field.get("anyOf", []))]
        yield name, kind(field) + needed, next((text for text in texts if text), "")


def kind(schema: dict[str, Any]) -> str:
    """Returns a JSON Schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(kind(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join("null" if word is None else str(word) for word in schema["enum"])
    name = schema.get("type", "any")
    if isinstance(name, list):
        return " | ".join(name)
    if name == "array":
        return f"list of {kind(schema.get('items', {}))}"
    limits = {"minimum": "≥ {}", "maximum": "≤ {}"}
    bounds = [text.format(schema[key]) for key, text in limits.items() if abs(schema.get(key, 2**40)) < 2**31]
    return " ".join([str(name), *bounds])
