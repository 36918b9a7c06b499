"""Keys at start, and changing them: whoever lacks a key is told before anything is read; content outlives its ciphertext."""

import pytest

from tests.contract.test_ciphertexts import DOCUMENT, all_of, filled
from threadloom.codec import from_json
from threadloom.encryption.aes import Key
from threadloom.encryption.keys import Keys, check_keys
from threadloom.encryption.rekey import rekey
from threadloom.encryption.storage import SealedStorage
from threadloom.errors import ConfigError
from threadloom.storage.ciphertexts import COLUMNS

pytestmark = pytest.mark.anyio

ONE = Key("first key, 16 b.")
TWO = Key("second key of 24 bytes !")
OTHER = Key("another key of all 32 bytes here")
SEARCHED = {"threads.metadata", "runs.metadata", "outcomes.metadata", "assistants.metadata", "crons.metadata"} | {
    "assistant_versions.metadata"
}
"""Columns that are in clear but for the keys that `json_keys` names."""


def silent(part):
    assert 0 <= part <= 1


async def everything(storage):
    return {column: await all_of(storage, column) for column in COLUMNS}


def plainly(stored):
    """What is stored in a column, whatever the order of keys in its JSON."""
    return [(one.key, one.type, from_json(one.data) if one.data.startswith(b"{") else one.data) for one in stored]


async def sealed_filled(storage, keys):
    await check_keys(storage, keys)
    await filled(SealedStorage(storage, keys.cipher()))


def refused(error):
    return pytest.raises(ConfigError, match=error)


# --- at start ---


async def test_data_that_were_never_sealed_ask_for_no_key(storage):
    await check_keys(storage, Keys())
    await check_keys(storage, Keys(key=ONE))
    await check_keys(storage, Keys(key=ONE))


async def test_a_missing_key_is_told(storage):
    await check_keys(storage, Keys(key=ONE))
    with refused("LANGGRAPH_AES_KEY is not set"):
        await check_keys(storage, Keys())


async def test_a_wrong_key_is_told_and_changes_nothing(storage):
    await check_keys(storage, Keys(key=ONE))
    with refused("LANGGRAPH_AES_KEY is not the key"):
        await check_keys(storage, Keys(key=TWO))
    with refused("LANGGRAPH_AES_KEY is not the key"):
        await check_keys(storage, Keys(key=TWO, old=OTHER))
    await check_keys(storage, Keys(key=ONE))


async def test_a_new_key_needs_the_old_one_until_all_is_sealed_anew(storage):
    await check_keys(storage, Keys(key=ONE))
    await check_keys(storage, Keys(key=TWO, old=ONE))
    with refused("LANGGRAPH_AES_KEY_OLD is not the key"):
        await check_keys(storage, Keys(key=TWO))
    with refused("LANGGRAPH_AES_KEY_OLD is not the key"):
        await check_keys(storage, Keys(key=TWO, old=OTHER))
    await rekey(storage, Keys(key=TWO, old=ONE), silent)
    await check_keys(storage, Keys(key=TWO))


async def test_missing_handlers_are_told(storage):
    await check_keys(storage, Keys(handlers=True))
    with refused(r"encryption\.path is not configured"):
        await check_keys(storage, Keys())


# --- changing ---


@pytest.mark.parametrize("json_keys", [(), ("word",)])
async def test_what_was_in_clear_is_sealed(storage, json_keys):
    await filled(storage)
    keys = Keys(key=ONE, json_keys=json_keys)
    assert await rekey(storage, keys, silent) > 0
    for column, stored in (await everything(storage)).items():
        text = b"".join(one.data for one in stored)
        if json_keys or column not in SEARCHED:
            assert b"clear" not in text, column
        elif column in SEARCHED:
            assert b"clear" in text, column
    thread = await SealedStorage(storage, keys.cipher()).read(lambda tx: tx.threads.get("t"))
    assert thread.metadata == thread.config == DOCUMENT
    assert await rekey(storage, keys, silent) == 0


async def test_a_new_key_takes_the_place_of_the_old_one_and_nothing_else_changes(storage):
    keys = Keys(key=ONE, json_keys=["word"])
    await sealed_filled(storage, keys)
    before = await everything(storage)
    await rekey(storage, Keys(key=TWO, old=ONE, json_keys=["word"]), silent)
    after = await everything(storage)
    for column in COLUMNS:
        assert [(one.key, one.type) for one in before[column]] == [(one.key, one.type) for one in after[column]]
        data = zip(before[column], after[column], strict=True)
        assert all(one.data != other.data or one.data == b"{}" for one, other in data), column
    opened = SealedStorage(storage, Keys(key=TWO).cipher())
    row = await opened.read(lambda tx: tx.lineage.get("t", "", "1"))
    assert (row.body, row.writes[0].data, [blob.data for blob in row.blobs.values()]) == (
        b"clear",
        b"clear",
        [b"clear"],
    )
    assert row.meta == DOCUMENT
    assert await rekey(storage, Keys(key=TWO, json_keys=["word"]), silent) == 0
    assert await rekey(storage, Keys(key=TWO), silent) == len(SEARCHED)


async def test_encryption_is_taken_off_again(storage):
    await filled(storage)
    before = await everything(storage)
    await rekey(storage, Keys(key=ONE, json_keys=["word"]), silent)
    await rekey(storage, Keys(old=ONE), silent)
    after = await everything(storage)
    assert {name: plainly(stored) for name, stored in after.items()} == {
        name: plainly(stored) for name, stored in before.items()
    }
    await check_keys(storage, Keys())


async def test_a_wrong_old_key_changes_nothing(storage):
    await sealed_filled(storage, Keys(key=ONE))
    before = await everything(storage)
    for keys in (Keys(key=TWO, old=OTHER), Keys(key=TWO), Keys(old=OTHER)):
        with refused("LANGGRAPH_AES_KEY is not the key"):
            await rekey(storage, keys, silent)
    assert await everything(storage) == before
