"""Long events are stored by elements over earlier ones: each reads back as it was put, whatever was removed before it."""

import random

import pytest
from langgraph_sdk import Encryption

from tests.encryptions import CIPHERS
from tests.storages import rows_of
from threadloom.codec import to_json
from threadloom.encryption.aes import AesCipher, Key
from threadloom.encryption.handler_cipher import HandlerCipher
from threadloom.encryption.handlers import Handlers
from threadloom.encryption.keys import Keys, check_keys
from threadloom.encryption.rekey import rekey
from threadloom.encryption.storage import SealedStorage
from threadloom.engine.event_values import EventValues
from threadloom.errors import StaleRefsError
from threadloom.types import CHANNELS, METHODS, Event

pytestmark = pytest.mark.anyio

THREADS = ("t", "u")


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


def state(texts):
    return to_json({"messages": [{"content": text * 100, "id": f"{number}"} for number, text in enumerate(texts)]})


class Logs:
    """The logs of two threads, and what they must hold. Two processes append to them."""

    def __init__(self, storage, rng):
        self.storage, self.rng = storage, rng
        self.makers = [EventValues(storage.new_blob_id) for _ in range(2)]
        self.logs = {thread: [] for thread in THREADS}
        self.texts = {thread: ["a"] for thread in THREADS}
        self.ms = self.runs = self.stale = 0

    def event(self, thread, run):
        texts = self.texts[thread]
        texts.insert(self.rng.choice([len(texts), len(texts) // 2]), self.rng.choice("abcdefgh"))
        del texts[: self.rng.choice([0, 0, 0, 1])]
        self.ms += 1
        mode, name = self.rng.choice([("values", "values"), ("values", "values|inner:1-2"), (CHANNELS, "values")])
        data = self.rng.choice([state(texts), state(texts), to_json({"namespace": [], "timestamp": self.ms}), b"1"])
        return Event(thread_id=thread, run_id=run, name=name, mode=mode, data=data, ms=self.ms)

    async def append(self, thread):
        self.runs += 1
        run, maker = f"r{self.runs}", self.rng.choice(self.makers)
        batch = [self.event(thread, run) for _ in range(self.rng.randrange(1, 4))]
        values = maker.of(batch)
        try:
            await self.write(lambda tx: tx.events.append(batch, values))
        except StaleRefsError:
            self.stale += 1
            values = maker.of(batch, whole=True)
            await self.write(lambda tx: tx.events.append(batch, values))
        self.logs[thread] += batch

    async def write(self, work):
        return await self.storage.write(work)

    async def remove(self, thread):
        log = self.logs[thread]
        kind = self.rng.randrange(4) if log else 0
        if kind == 0:
            await self.write(lambda tx: tx.events.trim(thread, 0))
            log.clear()
        elif kind == 1:
            keep = self.rng.randrange(1, 6)
            await self.write(lambda tx: tx.events.trim(thread, keep))
            newest = log[-1].seq
            log[:] = [event for event in log if event.seq > newest - keep]
        else:
            run = self.rng.choice(log).run_id
            if kind == 2:
                await self.write(lambda tx: tx.events.delete_of_run(run))
            else:
                await self.write(lambda tx: tx.events.expire(run, 1))
                await self.write(lambda tx: tx.events.delete_expired(2))
            log[:] = [event for event in log if event.run_id != run]

    async def check(self):
        """Every event is read alone and with others, and no value is kept that no event needs."""

        async def read(tx):
            found = []
            for thread, log in self.logs.items():
                pages = await tx.events.of_thread(thread, size=None)
                pages += await tx.events.of_channels(thread, after=0, methods=METHODS, size=None)
                found.append((sorted(pages, key=lambda event: event.seq), log))
                for event in log[-3:]:
                    of_run = [one for one in log if one.run_id == event.run_id and one.mode != CHANNELS]
                    found.append((await tx.events.of_run(event.run_id, size=None), of_run))
            return found

        for found, wanted in await self.storage.read(read):
            assert found == wanted
        bases = dict(rows_of(self.storage, "SELECT id, base FROM event_values"))
        needed = set()
        for (id_,) in rows_of(self.storage, "SELECT value FROM events WHERE value IS NOT NULL"):
            while id_ is not None and id_ not in needed:
                needed.add(id_)
                id_ = bases[id_]
        assert needed == bases.keys()


async def test_each_event_reads_back_whatever_is_removed(storage):
    logs = Logs(storage, random.Random(1))
    for step in range(120):
        thread = logs.rng.choice(THREADS)
        await (logs.append if logs.rng.random() < 0.8 else logs.remove)(thread)
        if step % 5 == 0:
            await logs.check()
    await logs.check()
    assert logs.stale
    assert rows_of(storage, "SELECT count(*) FROM event_values WHERE base IS NOT NULL")[0][0] > 0
    for thread in THREADS:
        await storage.write(lambda tx, thread=thread: tx.events.trim(thread, 0))
    assert rows_of(storage, "SELECT count(*) FROM event_values") == [(0,)]


@pytest.mark.parametrize("cipher", ["plain"])
async def test_a_page_is_limited_by_whole_bytes(storage):
    logs = Logs(storage, random.Random(1))
    batch = [
        Event(thread_id="t", run_id="r", name="values", mode="values", data=state("abc" * 10), ms=ms)
        for ms in range(1, 9)
    ]
    await storage.write(lambda tx: tx.events.append(batch, logs.makers[0].of(batch)))
    page = await storage.read(lambda tx: tx.events.of_run("r", size=2 * len(batch[0].data)))
    assert page == batch[:2]


@pytest.mark.parametrize("cipher", ["plain"])
async def test_instructions_are_sealed_anew_as_they_are(storage):
    one, two = Key("first key, 16 b."), Key("second key of 24 bytes !")
    await check_keys(storage, Keys(key=one))
    sealed = SealedStorage(storage, Keys(key=one).cipher())
    logs = Logs(sealed, random.Random(3))
    for _ in range(30):
        await logs.append("t")
    before = rows_of(storage, "SELECT id, base FROM event_values ORDER BY id")
    await rekey(storage, Keys(key=two, old=one), lambda part: None)
    logs.storage = SealedStorage(storage, Keys(key=two).cipher())
    await logs.check()
    assert rows_of(storage, "SELECT id, base FROM event_values ORDER BY id") == before


class ObjectCipher(AesCipher):
    """Encrypts only JSON objects, as handlers of JSON do."""

    seals_any_text = False

    def seal_text(self, at, text):
        return super().seal_text(at, text) if text.startswith(b"{") else text


@pytest.mark.parametrize("cipher", ["plain"])
async def test_where_instructions_would_be_in_clear_values_are_whole(storage):
    logs = Logs(SealedStorage(storage, ObjectCipher(Key("first key, 16 b."))), random.Random(4))
    for _ in range(10):
        await logs.append("t")
    await logs.check()
    stored = rows_of(storage, "SELECT base, data FROM event_values")
    assert stored
    assert all(base is None and b"content" not in data for base, data in stored)


def test_handlers_of_json_alone_encrypt_only_objects():
    encryption = Encryption()
    encryption.encrypt.json(encrypt)
    assert not HandlerCipher(Handlers(encryption, "tests"), {}).seals_any_text
    encryption.encrypt.blob(encrypt)
    assert HandlerCipher(Handlers(encryption, "tests"), {}).seals_any_text


async def encrypt(ctx, data):
    return data
