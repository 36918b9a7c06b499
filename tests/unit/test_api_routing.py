"""The matcher, and what all routes have in common."""

import pytest
from api_fakes import services

from threadloom.api.app import api_operations
from threadloom.api.routing import Router


@pytest.fixture(scope="module")
def matcher():
    return Router(api_operations(services()))


@pytest.mark.parametrize(
    ("method", "path", "route", "params"),
    [
        ("POST", "/threads", "/threads", {}),
        ("POST", "/threads/search", "/threads/search", {}),
        ("GET", "/threads/search", "/threads/{thread_id}", {"thread_id": "search"}),
        ("HEAD", "/threads/t", "/threads/{thread_id}", {"thread_id": "t"}),
        ("POST", "/threads/t/runs/stream", "/threads/{thread_id}/runs/stream", {"thread_id": "t"}),
        ("GET", "/threads/t/runs/stream", "/threads/{thread_id}/runs/{run_id}", {"thread_id": "t", "run_id": "stream"}),
        (
            "GET",
            "/threads/t/runs/r/stream",
            "/threads/{thread_id}/runs/{run_id}/stream",
            {"thread_id": "t", "run_id": "r"},
        ),
        ("POST", "/runs/crons/search", "/runs/crons/search", {}),
        ("GET", "/runs/crons/c", "/runs/crons/{cron_id}", {"cron_id": "c"}),
        ("GET", "/runs/r/stream", "/runs/{run_id}/stream", {"run_id": "r"}),
        (
            "GET",
            "/assistants/a/subgraphs/x/y|z",
            "/assistants/{assistant_id}/subgraphs/{namespace:path}",
            {"assistant_id": "a", "namespace": "x/y|z"},
        ),
    ],
)
def test_a_path_leads_to_its_route(matcher, method, path, route, params):
    operation, found = matcher.match(method, path)
    assert (operation.path, found) == (route, params)


@pytest.mark.parametrize(
    "path", ["/", "", "/nothing", "/threads/", "/threads//state", "/threads/t/", "/threads/t/runs/r/x"]
)
def test_unknown_paths_are_known_to_nobody(matcher, path):
    assert matcher.match("GET", path) == set()


def test_another_method_tells_which_there_are(matcher):
    assert matcher.match("PUT", "/threads") == {"POST"}
    assert matcher.match("GET", "/threads/t/copy") == {"POST"}
    assert matcher.match("PUT", "/threads/search") == {"POST", "GET", "PATCH", "DELETE"}
