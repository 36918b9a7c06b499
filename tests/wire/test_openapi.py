"""The interface description is complete, sound and current."""

from pathlib import Path

import jsonschema
import msgspec

from threadloom.api.describe import markdown
from threadloom.api.docs import all_operations, document
from threadloom.services import requests

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


def references(value):
    """Every `$ref` in a JSON value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_route_is_described():
    paths = document()["paths"]
    for operation in all_operations():
        if operation.hidden:
            continue
        described = paths[operation.path.replace(":path}", "}")][operation.method.lower()]
        assert described["summary"]
        assert str(operation.status) in described["responses"]


def test_ids_of_operations_are_unique():
    ids = [one["operationId"] for methods in document()["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere():
    described = document()
    schemas = described["components"]["schemas"]
    for reference in references(described):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_every_request_body_of_ours_is_described():
    schemas = document()["components"]["schemas"]
    structs = [one for one in vars(requests).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    assert structs
    for struct in structs:
        assert struct.__name__ in schemas
        assert set(schemas[struct.__name__]["properties"]) == set(struct.__struct_encode_fields__)


def test_the_schemas_are_valid_json_schema():
    for name, schema in document()["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema.get("description") or schema.get("title"), name


def test_the_reference_page_is_current():
    assert DOCS.read_text() == markdown(document()), "run: python -m threadloom.api.docs > docs/api.md"


def test_answers_of_another_kind_are_described():
    """What a parameter changes, and texts where the rest tells JSON."""
    paths = document()["paths"]
    erased = paths["/threads/{thread_id}"]["delete"]["responses"]
    assert set(erased) >= {"200", "204"}
    schema = erased["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/DeletedThreads"}
    for path, method in (("/ui/{graph_id}", "post"), ("/ui/{graph_id}/{file}", "get")):
        assert "text/plain" in paths[path][method]["responses"]["404"]["content"]
