"""Which settings a serving server takes up, and which it says aloud that it does not."""

from pathlib import Path

from msgspec.structs import replace

from threadloom.config.settings import Environment, GraphSpec, HttpSettings, Settings, StoreSettings, ThreadloomSettings
from threadloom.reload.merge import AT_ONCE, OWN_AT_ONCE, VARIABLES_AT_ONCE, merge

BEFORE = Settings(root=Path("/app"), graphs={"a": GraphSpec("./a.py:a")}, data=Path("/app/data"))


def test_the_names_are_those_of_the_settings():
    for names, record in ((AT_ONCE, Settings), (OWN_AT_ONCE, ThreadloomSettings), (VARIABLES_AT_ONCE, Environment)):
        assert names <= set(record.__struct_fields__)


def test_what_a_generation_is_made_from_is_taken_up():
    wanted = replace(
        BEFORE,
        graphs={"b": GraphSpec("./b.py:b")},
        http=HttpSettings(disable_store=True),
        threadloom=ThreadloomSettings(allowed_hosts=("example.com",)),
    )
    assert merge(BEFORE, wanted) == (wanted, [])


def test_the_rest_stays_as_it_was_and_is_named():
    wanted = replace(
        BEFORE,
        graphs={"b": GraphSpec("./b.py:b")},
        store=StoreSettings(path="./s.py:s"),
        threadloom=ThreadloomSettings(synchronous="full"),
        vars=Environment(n_jobs_per_worker=3),
    )
    merged, later = merge(BEFORE, wanted)
    assert merged == replace(BEFORE, graphs=wanted.graphs)
    assert later == ["threadloom.synchronous", "N_JOBS_PER_WORKER", "store"]
