"""What every answer has: errors in one shape, request ids, limits of bodies, CORS, prefix, figures."""

import logging
import re

import pytest
from api_fakes import THREAD_ID, EchoThreads, app, client, services, settings, thread

from threadloom.api.docs import all_operations
from threadloom.api.process_info import ProcessInfo
from threadloom.config.settings import Cors, HeaderRules
from threadloom.errors import NotFound, StorageError
from threadloom.types import ForkedFrom, Ttl

pytestmark = pytest.mark.anyio


class Failing:
    def __init__(self, error):
        self.error = error

    async def get(self, caller, thread_id):
        raise self.error


async def get_thread(error):
    async with client(app(services(threads=Failing(error)))) as http:
        return await http.get(f"/threads/{THREAD_ID}", headers={"x-request-id": "req-1"})


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NotFound("no such thread"), 404, "no such thread"),
        (StorageError("database or disk is full"), 507, "full"),
        (StorageError("attempt to write a readonly database"), 503, "readonly"),
    ],
)
async def test_expected_errors_have_one_shape(error, status, text):
    answer = await get_thread(error)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
    assert text in answer.json()["detail"]


async def test_a_bug_is_a_500_that_names_the_request_and_hides_the_rest(caplog):
    with caplog.at_level(logging.ERROR):
        answer = await get_thread(KeyError("secret"))
    assert answer.status_code == 500
    assert "req-1" in answer.json()["detail"]
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert "req-1" in caplog.text
    assert answer.headers["x-request-id"] == "req-1"


async def test_unknown_paths_and_methods():
    async with client(app(services())) as http:
        unknown = await http.get("/nothing")
        assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not Found"})
        wrong = await http.put("/threads", json={})
        assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})
        assert wrong.headers["allow"] == "POST"
        moved = await http.get(f"/threads/{THREAD_ID}/?include=ttl")
        assert (moved.status_code, moved.headers["location"]) == (307, f"/threads/{THREAD_ID}?include=ttl")


@pytest.mark.parametrize("given", ["", "x" * 201, "caf\xe9"])
async def test_a_request_id_that_is_no_short_text_is_replaced(given):
    async with client(app(services())) as http:
        answer = await http.get("/ok", headers={"x-request-id": given.encode("latin-1")})
    assert answer.headers["x-request-id"] not in (given, "")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_413(announced):
    async def parts():
        for _ in range(20):
            yield b" " * 100

    threads = EchoThreads()
    async with client(app(services(threads=threads), settings(max_body=1000))) as http:
        answer = await http.post("/threads", content=b" " * 1001 if announced else parts())
        assert answer.status_code == 413
        assert "1000 bytes" in answer.json()["detail"]
        assert threads.requests == []
        assert (await http.post("/threads", content=b"{}" + b" " * 998)).status_code == 200


async def test_a_body_in_parts_is_read_whole():
    async def parts():
        yield b'{"metadata":'
        yield b'{"a":1}}'

    async with client(app(services(threads=EchoThreads()))) as http:
        assert (await http.post("/threads", content=parts())).json()["metadata"] == {"a": 1}


async def test_the_record_of_a_thread():
    class Threads:
        async def get(self, caller, thread_id):
            return thread(
                values_json=b'{"a":[1]}',
                interrupts_json=b'{"t":[]}',
                forked_from=ForkedFrom("p", None, 4),
                ttl=Ttl(5.0, "delete", 6),
            )

    moment = "1970-01-01T00:00:00.00000"
    async with client(app(services(threads=Threads()))) as http:
        plain = (await http.get(f"/threads/{THREAD_ID}")).json()
        told = (await http.get(f"/threads/{THREAD_ID}", params={"include": "nothing, ttl"})).json()
    assert plain == {
        "thread_id": THREAD_ID,
        "created_at": f"{moment}1+00:00",
        "updated_at": f"{moment}2+00:00",
        "state_updated_at": f"{moment}3+00:00",
        "metadata": {},
        "status": "idle",
        "config": {},
        "values": {"a": [1]},
        "interrupts": {"t": []},
        "error": None,
        "forked_from": {"thread_id": "p", "checkpoint_id": None, "at": f"{moment}4+00:00"},
        "root_thread_id": "p",
    }
    assert told == plain | {"ttl": {"strategy": "delete", "ttl_minutes": 5.0, "expires_at": f"{moment}6+00:00"}}


async def test_chosen_headers_reach_the_caller():
    rules = HeaderRules(includes=("x-keep-*", "Plain"), excludes=("x-keep-not",))
    threads = EchoThreads()
    async with client(app(services(threads=threads), settings(configurable_headers=rules))) as http:
        headers = {"X-Keep-One": "1", "x-keep-not": "2", "plain": "3", "other": "4", "x-request-id": "r"}
        await http.post("/threads", json={}, headers=headers)
    ((caller, _),) = threads.requests
    assert caller.headers == {"x-keep-one": "1", "plain": "3"}
    assert caller.request_id == "r"


async def test_no_pattern_means_credentials():
    sent = {"Authorization": "Bearer a", "cookie": "b", "x-api-key": "c", "x-more": "d"}
    told = {name.lower() for name in sent}

    async def chosen(*includes):
        threads = EchoThreads()
        rules = HeaderRules(includes=includes)
        async with client(app(services(threads=threads), settings(configurable_headers=rules))) as http:
            await http.post("/threads", json={}, headers=sent)
        return {name: value for name, value in threads.requests[0][0].headers.items() if name in told}

    assert await chosen("*") == {"x-more": "d"}
    assert await chosen("x-*", "auth*") == {"x-more": "d"}
    assert await chosen("x-*", "Authorization") == {"authorization": "Bearer a", "x-more": "d"}


async def test_disabled_groups_are_not_there():
    async with client(app(services(), settings(disable_threads=True, disable_meta=True))) as http:
        assert (await http.get(f"/threads/{THREAD_ID}")).status_code == 404
        assert (await http.get("/threads/not-a-uuid/runs")).status_code == 422
        for path in ("/", "/info", "/metrics", "/docs", "/openapi.json"):
            assert (await http.get(path)).status_code == 404
        assert (await http.get("/ok?check_db=1")).json() == {"ok": True}


async def no_details():
    return {}


BY_GROUP = {
    "assistants": r"/assistants",
    "threads": r"/threads(?!.*/(runs|commands|stream/events))",
    "runs": r"/runs|/queue|/threads/[^/]+/(runs|commands|stream/events)",
    "event_streaming": r"/threads/[^/]+/(commands|stream/events)",
    "store": r"/store",
    "mcp": r"/mcp",
    "a2a": r"/a2a|/\.well-known/agent",
    "meta": r"/($|info|server|metrics|docs|openapi\.json)",
    "webhooks": r"/webhooks",
}
"""Which paths each `disable_…` switches off."""


@pytest.mark.parametrize("group", BY_GROUP)
async def test_a_group_that_is_off_is_gone_and_the_others_are_there(group):
    there = {(one.method, one.path) for one in all_operations()}
    off = settings(**{f"disable_{group}": True})
    paths = {(method, re.sub(r"\{[^}]*\}", THREAD_ID, path)) for method, path in there if not path.startswith("/ui")}
    process_info = ProcessInfo(details=no_details)
    async with client(app(services(), off, process_info=process_info)) as http:
        for method, path in sorted(paths):
            answer = await http.request(method, path, content=b"no json")
            gone = answer.status_code == 404 and answer.text == '{"detail":"Not Found"}'
            assert gone == bool(re.match(BY_GROUP[group], path)), (method, path, answer.text)


async def test_with_a_prefix_only_health_and_figures_stay_at_the_root():
    async with client(app(services(), settings(mount_prefix="/api/v1"))) as http:
        for path in ("/", "/ok", "/metrics", "/api/v1", "/api/v1/", "/api/v1/ok", "/api/v1/info"):
            assert (await http.get(path)).status_code == 200, path
        for path in ("/info", "/api/v10/ok", "/openapi.json"):
            assert (await http.get(path)).status_code == 404, path
        (server,) = (await http.get("/api/v1/openapi.json")).json()["servers"]
        assert server["url"] == "http://test/api/v1"


async def test_any_origin_may_call_by_default():
    async with client(app(services())) as http:
        simple = await http.get("/nothing", headers={"origin": "http://page"})
        assert simple.headers["access-control-allow-origin"] == "*"
        assert "location" in simple.headers["access-control-expose-headers"].split(", ")
        asked = {"origin": "http://page", "access-control-request-method": "PATCH"}
        preflight = await http.options("/threads", headers=asked)
        assert preflight.status_code == 200


async def test_configured_origins_get_page_headers_where_they_stand():
    class Threads:
        async def search(self, caller, request):
            return [], 10, 11

    cors = Cors(allow_origins=("https://ok",), expose_headers=("x-b",))
    configured = settings(cors=cors, cors_configured=True)
    async with client(app(services(threads=Threads()), configured)) as http:
        found = await http.post("/threads/search", json={}, headers={"origin": "https://ok"})
        assert found.headers["access-control-expose-headers"] == "x-b, x-pagination-next, x-pagination-total"
        assert (found.headers["x-pagination-next"], found.headers["x-pagination-total"]) == ("10", "11")
        plain = await http.get("/ok", headers={"origin": "https://ok"})
        assert plain.headers["access-control-expose-headers"] == "x-b"
        other = await http.get("/ok", headers={"origin": "https://no"})
        assert "access-control-allow-origin" not in other.headers


async def test_figures_count_by_route_and_not_by_id():
    async with client(app(services(threads=Failing(NotFound("x"))))) as http:
        await http.get(f"/threads/{THREAD_ID}")
        await http.get("/nothing/at/all")
        text = (await http.get("/metrics")).text
        counted = (await http.get("/metrics?format=json")).json()["api"]["http_requests_total"]
    assert 'lg_api_http_requests_total{method="GET",path="/threads/{thread_id}",status="404"} 1' in text
    assert THREAD_ID not in text
    assert {"method": "GET", "path": "", "status": 404, "count": 1} in counted


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/ok?check_db=x", "check_db"),
        (f"/threads/{THREAD_ID}/runs?limit=abc", "limit"),
        (f"/threads/{THREAD_ID}/runs?limit=-1", "limit"),
        (f"/threads/{THREAD_ID}/runs?offset=-1", "offset"),
        (f"/threads/{THREAD_ID}/runs?status=bogus", "status"),
        (f"/threads/{THREAD_ID}/runs?select=run_id,status", "run_id,status"),
        (f"/threads/{THREAD_ID}/history?limit=x", "Invalid limit x"),
        (f"/threads/{THREAD_ID}/state?select=bogus", "bogus"),
        (f"/threads/{THREAD_ID}/stream?stream_modes=bogus", "Invalid stream mode: bogus"),
        (f"/threads/{THREAD_ID}/runs/{THREAD_ID}/join?cancel_on_disconnect=maybe", "cancel_on_disconnect"),
        (f"/threads/{THREAD_ID}/runs/{THREAD_ID}/stream?stream_mode=[1", "stream_mode"),
    ],
)
async def test_query_parameters_of_the_wrong_kind_are_named(path, name):
    async with client(app(services())) as http:
        answer = await http.get(path)
    assert answer.status_code == 422
    assert name in answer.json()["detail"]
