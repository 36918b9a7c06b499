"""Configuration: what is read, and how faults and unknown keys are told."""

import json
from pathlib import Path

import pytest

from threadloom.config import load
from threadloom.config.settings import Cors, GraphSpec, Serde, StoreIndex, ThreadTtlSettings, UvSource
from threadloom.errors import ConfigError

PLAIN = {"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}


@pytest.fixture
def write(tmp_path):
    """Writes a langgraph.json and gives its path."""

    def written(*blocks: dict[str, object], text: str | None = None) -> Path:
        file = tmp_path / "langgraph.json"
        whole: dict[str, object] = {}
        for block in blocks:
            whole |= block
        file.write_text(text if text is not None else json.dumps(whole))
        return file

    return written


def refused(path: Path | None, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, env or {})
    return str(caught.value)


def test_the_least_configuration_has_the_documented_defaults(write, tmp_path):
    settings = load(write(PLAIN), {})
    assert settings.graphs == {"agent": GraphSpec("./agent.py:graph")}
    assert settings.data == tmp_path / ".threadloom"
    assert settings.dependencies == (tmp_path,)
    assert settings.jobs == 100
    assert settings.vars.bg_job_timeout_secs == 86_400
    assert settings.vars.http_max_request_body_bytes == 300 * 1024 * 1024
    assert settings.http.cors.allow_origins == ("*",)
    assert settings.webhooks.url.require_https is False
    assert settings.webhooks.url.disable_loopback is True
    assert settings.threadloom.checkpoint_thread_id is True
    assert settings.warnings == ()


def test_graphs_may_have_any_name_and_a_description(write):
    graphs = {"a b/c": {"path": "pkg.mod:g", "description": "Says hello."}, "0199": "g.py:g"}
    assert load(write(PLAIN, {"graphs": graphs}), {}).graphs == {
        "a b/c": GraphSpec("pkg.mod:g", "Says hello."),
        "0199": GraphSpec("g.py:g"),
    }


def test_all_faults_are_told_at_once_with_file_key_and_cause(write, tmp_path):
    told = refused(
        write(
            {
                "graphs": {"one": "./one.py", "two": 2, "three": {"description": "?"}, "four": "./four.ts:graph"},
                "python_version": "3.9",
                "http": {"mount_prefix": "api", "disable_meta": "yes", "middleware_order": "none"},
                "store": {"index": {"dims": 0}},
                "checkpointer": {"ttl": {"strategy": "burn", "default_ttl": -1}},
                "webhooks": {"headers": {"a": "${{ env.PATH }}"}},
                "ui": {"a": 1, "b/c": "./ui.tsx"},
                "threadloom": {
                    "synchronous": "often",
                    "allowed_hosts": ["https://a.example"],
                    "allowed_origins": ["https://a.example/path"],
                    "auth": {"implicit_threads": "never"},
                    "keep_alive_seconds": 0,
                    "webhook_secret": ["whsec_?"],
                    "webhook_tries": 0,
                    "retention": {"deliveries_days": -1},
                    "limits": {
                        "runs_per_user": 0,
                        "streams_per_user": "many",
                        "reader_bytes": 1,
                        "replay_bytes": "1 GB",
                    },
                },
            }
        )
    )
    assert told.startswith(f"{tmp_path / 'langgraph.json'} cannot be used:")
    for place in (
        "graphs.one",
        "graphs.two",
        "graphs.three.path",
        "graphs.four",
        "dependencies",
        "python_version",
        "http.mount_prefix",
        "http.disable_meta",
        "http.middleware_order",
        "store.index.dims",
        "store.index.embed",
        "checkpointer.ttl.strategy",
        "checkpointer.ttl.default_ttl",
        "webhooks.headers.a",
        "ui",
        "ui.a",
        "threadloom.synchronous",
        "threadloom.allowed_hosts",
        "threadloom.allowed_origins",
        "threadloom.auth.implicit_threads",
        "threadloom.keep_alive_seconds",
        "threadloom.webhook_secret",
        "threadloom.webhook_tries",
        "threadloom.retention.deliveries_days",
        "threadloom.limits.runs_per_user",
        "threadloom.limits.streams_per_user",
        "threadloom.limits.reader_bytes",
        "threadloom.limits.replay_bytes",
    ):
        assert f"  - {place}: " in told, place
    assert "JavaScript" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n "graphs": {\n', "line 3, column 1"),
        ('{"graphs": {"a": "b:c"},}', "line 1, column 2"),
        ("[]", "must hold a JSON object, got a list"),
        ("", "line 1, column 1"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_is_told_with_its_place(write, text, said):
    assert said in refused(write(text=text))


def test_a_missing_file_is_told(tmp_path):
    assert "no such file" in refused(tmp_path / "langgraph.json")


@pytest.mark.parametrize("graphs", [{}, None])
def test_a_configuration_without_graphs_is_refused(write, graphs):
    assert "No graphs found in config" in refused(write({"dependencies": ["."], "graphs": graphs}))


def test_unknown_keys_at_every_level_are_told_with_the_nearest_known_one(write):
    settings = load(
        write(
            PLAIN,
            {
                "grphs": {},
                "http": {"mount_prefx": "/x", "cors": {"allow_origin": ["*"]}},
                "store": {"index": {"dims": 3, "embed": "./e.py:e", "feilds": ["a"]}},
                "graphs": {"a": {"path": "./a.py:g", "descriptoin": "x"}},
                "wholly": 1,
            },
        ),
        {},
    )
    told = "\n".join(settings.warnings)
    for place, near in (
        ("grphs", "graphs"),
        ("http.mount_prefx", "mount_prefix"),
        ("http.cors.allow_origin", "allow_origins"),
        ("store.index.feilds", "fields"),
        ("graphs.a.descriptoin", "description"),
    ):
        assert f'{place}: unknown key, it has no effect (did you mean "{near}"?)' in told
    assert "wholly: unknown key, it has no effect" in told


def test_priority_is_read(write):
    assert load(write(PLAIN), {}).priority is None
    assert load(write(PLAIN, {"priority": {"path": "./p.py:p"}}), {}).priority == "./p.py:p"
    assert (
        load(None, {"LANGSERVE_GRAPHS": '{"a": "./a.py:g"}', "LANGGRAPH_PRIORITY": '{"path": "p:p"}'}).priority == "p:p"
    )
    assert "priority.path: is missing" in refused(write(PLAIN, {"priority": {}}), {})
    assert "priority: must be an object, got text" in refused(write(PLAIN, {"priority": "./p.py:p"}), {})
    assert "priority.path: './p.ts:p' is JavaScript" in refused(write(PLAIN, {"priority": {"path": "./p.ts:p"}}), {})


def test_encryption_is_read_from_the_file_and_from_the_variable_beside_it(write):
    variable = {"LANGGRAPH_ENCRYPTION": '{"path": "./b.py:b"}'}
    file = write(PLAIN, {"encryption": {"path": "./a.py:a"}})
    assert load(file, {}).encryption.path == load(file, variable).encryption.path == "./a.py:a"
    assert load(write(PLAIN), variable).encryption.path == "./b.py:b"
    assert "LANGGRAPH_ENCRYPTION: is not valid JSON" in refused(write(PLAIN), {"LANGGRAPH_ENCRYPTION": "{"})
    assert "encryption.path: is missing" in refused(write(PLAIN), {"LANGGRAPH_ENCRYPTION": "{}"})


def test_auth_is_read_from_the_file_and_from_the_variable_beside_it(write):
    variable = {"LANGGRAPH_AUTH": '{"path": "./b.py:b"}'}
    file = write(PLAIN, {"auth": {"path": "./a.py:a"}})
    assert load(file, {}).auth.path == load(file, variable).auth.path == "./a.py:a"
    assert load(write(PLAIN), variable).auth.path == "./b.py:b"
    assert "LANGGRAPH_AUTH: is not valid JSON" in refused(write(PLAIN), {"LANGGRAPH_AUTH": "{"})
    assert "auth.path: is missing" in refused(write(PLAIN), {"LANGGRAPH_AUTH": "{}"})


def test_auth_is_read_with_its_cache(write):
    block = {"path": "./a.py:a", "default": "deny", "cache": {"cache_keys": ["Authorization"], "ttl_seconds": 5}}
    auth = load(write(PLAIN, {"auth": block}), {}).auth
    assert (auth.path, auth.default, auth.disable_studio_auth) == ("./a.py:a", "deny", False)
    assert (auth.cache.cache_keys, auth.cache.ttl_seconds, auth.cache.max_size) == (("Authorization",), 5, 1000)


@pytest.mark.parametrize(
    ("auth", "fault"),
    [
        ({}, "auth.path: is missing"),
        ({"path": "./a.py"}, "auth.path: "),
        ({"path": "./a.py:a", "default": "open"}, 'auth.default: must be one of "allow", "deny"'),
        ({"path": "./a.py:a", "cache": {}}, "auth.cache.cache_keys: must name the headers"),
        (
            {"path": "./a.py:a", "cache": {"cache_keys": ["a"], "max_size": 0}},
            "auth.cache.max_size: must be at least 1",
        ),
    ],
)
def test_a_faulty_auth_block_is_refused(write, auth, fault):
    assert fault in refused(write(PLAIN, {"auth": auth}))


@pytest.mark.parametrize("http", [{"middleware_order": "auth_first"}, {"enable_custom_route_auth": True}])
def test_what_is_about_auth_has_no_effect_without_it_and_says_so(write, http):
    (key,) = http
    assert f"http.{key}: has no effect without auth" in load(write(PLAIN, {"http": http}), {}).warnings
    assert load(write(PLAIN, {"http": http, "auth": {"path": "./a.py:a"}}), {}).warnings == ()


@pytest.mark.parametrize("key", ["0" * 16, "ä" * 12, " " * 31 + "x"])
def test_an_aes_key_is_taken_to_the_letter(write, key):
    assert load(write(PLAIN), {"LANGGRAPH_AES_KEY": key}).vars.langgraph_aes_key == key


@pytest.mark.parametrize("name", ["LANGGRAPH_AES_KEY", "LANGGRAPH_AES_KEY_OLD"])
def test_an_aes_key_of_another_length_is_refused_and_not_repeated(write, name):
    told = refused(write(PLAIN), {name: "secret" * 3})
    assert f"{name}: must have 16, 24 or 32 bytes, has 18" in told
    assert "secret" not in told


def test_json_keys_need_an_aes_key_and_must_not_be_the_servers_own(write):
    keys = {"LANGGRAPH_AES_JSON_KEYS": "name, langgraph_request_id,graph_id"}
    assert "LANGGRAPH_AES_JSON_KEYS: needs LANGGRAPH_AES_KEY" in refused(write(PLAIN), keys)
    told = refused(write(PLAIN), {**keys, "LANGGRAPH_AES_KEY": "0" * 16})
    for name in ("langgraph_request_id", "graph_id"):
        assert f"LANGGRAPH_AES_JSON_KEYS: {name!r} is the server's own and cannot be encrypted" in told
    assert "'name'" not in told


def test_image_keys_are_accepted_without_a_word(write):
    block = {
        "python_version": "3.12",
        "dockerfile_lines": ["RUN true"],
        "pip_installer": "uv",
        "keep_pkg_tools": ["pip"],
        "api_version": "0.7",
        "base_image": "python",
        "$schema": "x",
        "image_distro": "wolfi",
    }
    assert load(write(PLAIN, block), {}).warnings == ()


def test_missing_dependency_folders_are_told_and_packages_are_not(write, tmp_path):
    (tmp_path / "packages").mkdir()
    settings = load(write(PLAIN, {"dependencies": ["./packages", "./gone", "langchain-openai"]}), {})
    assert settings.dependencies == (tmp_path / "packages",)
    assert len(settings.warnings) == 1
    assert "./gone" in settings.warnings[0]


def test_env_wins_over_the_process_and_flags_win_over_env(write, tmp_path):
    file = write(PLAIN, {"env": {"N_JOBS_PER_WORKER": 7, "LOG_LEVEL": "debug", "FLAG": True}})
    settings = load(file, {"N_JOBS_PER_WORKER": "3", "BG_JOB_MAX_RETRIES": "5"})
    assert settings.env == {"N_JOBS_PER_WORKER": "7", "LOG_LEVEL": "debug", "FLAG": "true"}
    assert (settings.jobs, settings.vars.log_level, settings.vars.bg_job_max_retries) == (7, "DEBUG", 5)
    assert load(file, {}, {"jobs": 0, "data": Path("elsewhere")}).jobs == 0


def test_env_may_be_a_dotenv_file(write, tmp_path):
    (tmp_path / "some.env").write_text("# note\nexport A='1 2'\nB=\"x\"  # why\nEMPTY=\n")
    assert load(write(PLAIN, {"env": "some.env"}), {}).env == {"A": "1 2", "B": "x", "EMPTY": ""}
    assert "env: there is no file" in refused(write(PLAIN, {"env": "./gone.env"}))
    (tmp_path / "folder.env").mkdir()
    assert "env: cannot read" in refused(write(PLAIN, {"env": "./folder.env"}))


def test_an_env_file_that_is_not_there_may_be_passed_over_with_its_cure(write, tmp_path):
    file = write(PLAIN, {"env": "./.env"})
    [warning] = load(file, {}, env_file_required=False).warnings
    assert warning == f"env: there is no file {tmp_path / '.env'}, so its variables are not set"
    (tmp_path / ".env.example").write_text("A=1")
    [warning] = load(file, {}, env_file_required=False).warnings
    assert warning.endswith(f". Make it from the example: cp {tmp_path / '.env.example'} {tmp_path / '.env'}")


def test_true_and_false_in_quotes_are_taken_with_a_warning(write):
    block = {"auth": {"path": "./a.py:b", "disable_studio_auth": "false"}, "http": {"disable_mcp": "True"}}
    settings = load(write(PLAIN, {**block, "keep_pkg_tools": "true"}), {})
    assert settings.auth is not None
    assert not settings.auth.disable_studio_auth
    assert settings.http.disable_mcp
    assert settings.image.keep_pkg_tools == ("setuptools", "wheel", "pip")
    assert len([warning for warning in settings.warnings if "write it without quotes" in warning]) == 3
    assert "http.disable_mcp: must be true or false, got text" in refused(write(PLAIN, {"http": {"disable_mcp": "1"}}))


def test_an_env_file_is_not_read_unless_named(write, tmp_path):
    (tmp_path / ".env").write_text("A=1")
    assert load(write(PLAIN), {}).env == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("N_JOBS_PER_WORKER", "many"),
        ("N_JOBS_PER_WORKER", "-1"),
        ("BG_JOB_TIMEOUT_SECS", "0"),
        ("BG_JOB_TIMEOUT_SECS", "nan"),
        ("BG_JOB_ISOLATED_LOOPS", "perhaps"),
        ("HTTP_MAX_REQUEST_BODY_BYTES", "1.5"),
        ("LOG_LEVEL", "LOUD"),
        ("PORT", "70000"),
        ("LANGGRAPH_THREAD_TTL", "[1]"),
        ("CORS_CONFIG", "{"),
        ("LANGGRAPH_CONFIG", "[1]"),
        ("MOUNT_PREFIX", "api"),
    ],
)
def test_bad_variables_are_named(write, name, text):
    assert f"  - {name}: " in refused(write(PLAIN), {name: text})


def test_configs_of_own_assistants_are_read(write):
    config = {"configurable": {"model": "small"}, "recursion_limit": 7, "kept": None}
    unset = {"metadata": None, "tags": None}
    settings = load(write(PLAIN), {"LANGGRAPH_CONFIG": json.dumps({"agent": config | unset, "other": {}})})
    assert settings.graphs["agent"].config == config
    assert settings.warnings == ("LANGGRAPH_CONFIG.other: is no graph of this configuration",)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (7, ""),
        ({"configurable": []}, ".configurable"),
        ({"metadata": 1}, ".metadata"),
        ({"tags": "t"}, ".tags"),
        ({"recursion_limit": 0}, ".recursion_limit"),
    ],
)
def test_bad_configs_of_own_assistants_are_named(write, config, key):
    env = {"LANGGRAPH_CONFIG": json.dumps({"agent": config})}
    assert f"  - LANGGRAPH_CONFIG.agent{key}: " in refused(write(PLAIN), env)


def test_http_and_cors_are_read(write):
    cors = {"allow_origins": ["https://a.example"], "allow_credentials": True, "max_age": 7}
    http = load(write(PLAIN, {"http": {"mount_prefix": "/api/", "cors": cors, "disable_mcp": True}}), {}).http
    assert (http.mount_prefix, http.disable_mcp, http.cors_configured) == ("/api", True, True)
    assert http.cors == Cors(allow_origins=("https://a.example",), allow_credentials=True, max_age=7)


def test_variables_win_over_http_and_ttl(write):
    file = write(PLAIN, {"http": {"mount_prefix": "/api"}, "checkpointer": {"ttl": {"default_ttl": 1}}})
    env = {
        "MOUNT_PREFIX": "/v2",
        "CORS_ALLOW_ORIGINS": "https://a.example, https://b.example",
        "LANGGRAPH_THREAD_TTL": '{"strategy": "keep_latest", "default_ttl": 9}',
    }
    settings = load(file, env)
    assert settings.http.mount_prefix == "/v2"
    assert settings.http.cors.allow_origins == ("https://a.example", "https://b.example")
    assert settings.http.cors.allow_credentials is True
    assert settings.checkpointer.ttl == ThreadTtlSettings(strategy="keep_latest", default_ttl=9)


def test_header_rules_take_both_spellings_and_any_case(write):
    block = {"http": {"configurable_headers": {"includes": ["X-Keep-*"], "exclude": ["X-Keep-Not"]}}}
    rules = load(write(PLAIN, block), {}).http.configurable_headers
    assert (rules.includes, rules.excludes) == (("x-keep-*",), ("x-keep-not",))


def test_webhook_headers_are_filled_from_permitted_variables(write):
    block = {"webhooks": {"headers": {"Authorization": "Bearer ${{ env.LG_WEBHOOK_A }}-${{env.LG_WEBHOOK_B}}"}}}
    webhooks = load(write(PLAIN, block), {"LG_WEBHOOK_A": "1", "LG_WEBHOOK_B": "2"}).webhooks
    assert webhooks.headers == {"Authorization": "Bearer 1-2"}
    assert webhooks.url.require_https is True
    assert "LG_WEBHOOK_B, which is not set" in refused(write(PLAIN, block), {"LG_WEBHOOK_A": "1"})


def test_the_store_index_is_read(write):
    block = {"store": {"index": {"dims": 3, "embed": "openai:text-embedding-3-small"}}}
    assert load(write(PLAIN, block), {}).store.index == StoreIndex(3, "openai:text-embedding-3-small", ("$",))


def test_an_image_starts_from_variables_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = {"LANGSERVE_GRAPHS": '{"agent": "/deps/a.py:g"}', "LANGGRAPH_HTTP": '{"mount_prefix": "/x"}'}
    (tmp_path / "langgraph.json").write_text("the image holds it too, and need not read it")
    settings = load(None, env)
    assert (settings.path, list(settings.graphs), settings.http.mount_prefix) == (None, ["agent"], "/x")
    assert settings.warnings == ()
    assert "LANGGRAPH_STORE: is not valid JSON" in refused(None, {**env, "LANGGRAPH_STORE": "{"})


def test_where_the_data_are(write, tmp_path):
    plain = write(PLAIN)
    assert load(plain, {"POSTGRES_URI": "postgres://h/x"}).postgres_uri == "postgres://h/x"
    assert load(plain, {"POSTGRES_URI": "postgres://h/x"}, {"data": tmp_path}).postgres_uri is None
    beside, absolute = (
        load(plain, {"DATABASE_URI": "sqlite:///kept"}),
        load(plain, {"DATABASE_URI": "sqlite:////srv/kept"}),
    )
    assert (beside.postgres_uri, beside.data, absolute.data) == (None, plain.parent / "kept", Path("/srv/kept"))
    assert "DATABASE_URI: must begin with postgresql://" in refused(plain, {"DATABASE_URI": "mysql://u:secret@h/x"})
    assert "secret" not in refused(plain, {"DATABASE_URI": "u:secret@h/x"})
    assert "REDIS_URI: must begin with redis://" in refused(plain, {"REDIS_URI": "host:6379"})


def test_redis_has_nothing_to_do_for_one_process(write):
    assert ["REDIS_URI" in warning for warning in load(write(PLAIN), {"REDIS_URI": "redis://x"}).warnings] == [True]
    both = {"REDIS_URI": "redis://x", "DATABASE_URI": "postgresql://x/y"}
    assert load(write(PLAIN), both).warnings == ()


def test_leases_and_draining(write):
    own = load(write(PLAIN, {"threadloom": {"lease_seconds": 2.5, "drain_seconds": 0}}), {}).threadloom
    assert (own.lease_seconds, own.drain_seconds) == (2.5, 0)
    assert "threadloom.lease_seconds: must be more than 1" in refused(
        write(PLAIN, {"threadloom": {"lease_seconds": 1}})
    )


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"path": "./c.py:c"}, "checkpointer.path"),
        ({"backend": "mongo"}, "checkpointer.backend"),
        ({"backend": "custom"}, "checkpointer.backend"),
        ({"uri": "mongodb://x"}, "checkpointer.uri"),
    ],
)
def test_checkpoints_elsewhere_are_refused(write, block, place):
    assert f"{place}: checkpoints are kept in the server's own storage" in refused(
        write(PLAIN, {"checkpointer": block})
    )
    assert load(write(PLAIN, {"checkpointer": {"backend": "default"}}), {}).warnings == ()


def test_a_list_that_is_null_is_another_than_none(write):
    serde = load(write(PLAIN, {"checkpointer": {"serde": {"allowed_msgpack_modules": None}}}), {}).checkpointer.serde
    assert serde.allowed_msgpack_modules is None
    assert load(write(PLAIN, {"checkpointer": {"serde": {}}}), {}).checkpointer.serde == Serde()


def test_origins_beside_cors_are_told_to_have_no_effect(write):
    file = write(PLAIN, {"http": {"cors": {"allow_origins": ["https://a.example"]}}})
    settings = load(file, {"CORS_ALLOW_ORIGINS": "https://b.example"})
    assert settings.http.cors.allow_origins == ("https://a.example",)
    assert settings.warnings == ("CORS_ALLOW_ORIGINS: has no effect beside http.cors",)


def test_node_is_told_to_have_no_effect(write):
    assert load(write(PLAIN, {"node_version": "20"}), {}).warnings[0].startswith("node_version: has no effect")


def test_the_data_folder_may_be_told_by_a_variable(write, tmp_path):
    file, env = write(PLAIN), {"THREADLOOM_DATA": str(tmp_path / "elsewhere")}
    assert load(file, env).data == tmp_path / "elsewhere"
    assert load(file, env, {"data": tmp_path / "here"}).data == tmp_path / "here"


@pytest.mark.parametrize("name", ["./gone", "/gone", "packages/gone"])
def test_a_folder_that_is_not_there_is_told(write, name):
    assert f"there is no folder {name!r}" in load(write(PLAIN, {"dependencies": [name]}), {}).warnings[0]


@pytest.mark.parametrize(
    "name", ["langchain-openai>=1", "git+https://example.com/a/b.git", "b @ https://example.com/b.whl"]
)
def test_a_requirement_is_no_folder(write, name):
    settings = load(write(PLAIN, {"dependencies": [name]}), {})
    assert (settings.warnings, settings.image.packages) == ((), (name,))


def test_a_uv_project_stands_for_dependencies(write):
    whole = {"graphs": PLAIN["graphs"], "source": {"kind": "uv", "root": "..", "package": "app"}}
    assert load(write(whole), {}).image.source == UvSource(root="..", package="app")
    assert "dependencies: cannot stand beside source" in refused(write(whole, {"dependencies": ["."]}))
    assert "source.kind: is missing" in refused(write({**whole, "source": {}}))
