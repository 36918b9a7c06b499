"""The built-in AES cipher: what it seals comes back, what it must not is refused, and what others wrote is read."""

import sys

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from threadloom.encryption.aes import AesCipher, Key
from threadloom.encryption.cipher import NOTHING, SYSTEM, Location, UndecipherableError
from threadloom.errors import ConfigError

ONE = Key("first key, 16 b.")
OTHER = Key("another key of all 32 bytes here")
PLACE = Location("run", "input")


@pytest.fixture
def cipher():
    return AesCipher(ONE, json_keys=["name"])


@pytest.mark.parametrize("key", ["x" * 16, "x" * 24, "x" * 32, "ü" * 8])
def test_a_part_of_a_checkpoint_comes_back(key):
    cipher = AesCipher(Key(key))
    type_, data = cipher.seal_blob(PLACE, "msgpack", b"content")
    assert type_ == "msgpack+aes-gcm"
    assert b"content" not in data
    assert cipher.open_blob(PLACE, type_, data) == ("msgpack", b"content")


def test_the_same_content_is_never_sealed_alike(cipher):
    assert cipher.seal_blob(PLACE, "t", b"x") != cipher.seal_blob(PLACE, "t", b"x")


def test_what_was_never_sealed_is_opened_as_it_is(cipher):
    assert cipher.open_blob(PLACE, "msgpack", b"plain") == ("msgpack", b"plain")
    assert cipher.open_text(PLACE, b'{"a": 1}') == b'{"a": 1}'
    assert cipher.open_document(PLACE, {"a": 1}, NOTHING) == {"a": 1}
    assert cipher.open_metadata(PLACE, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("at", [0, 1, 5, 17, -1])
def test_a_ciphertext_that_was_changed_is_refused(cipher, at):
    type_, data = cipher.seal_blob(PLACE, "t", b"content")
    changed = bytearray(data)
    changed[at] ^= 1
    with pytest.raises(UndecipherableError, match=r"run\.input cannot be decrypted"):
        cipher.open_blob(PLACE, type_, bytes(changed))


def test_a_type_that_was_changed_is_refused(cipher):
    _, data = cipher.seal_blob(PLACE, "msgpack", b"content")
    with pytest.raises(UndecipherableError):
        cipher.open_blob(PLACE, "pickle+aes-gcm", data)


def test_another_key_is_told_from_a_changed_ciphertext(cipher):
    sealed = cipher.seal_text(PLACE, b'"content"')
    with pytest.raises(UndecipherableError, match="with a key that is not given"):
        AesCipher(OTHER).open_text(PLACE, sealed)
    assert AesCipher(OTHER, [ONE]).open_text(PLACE, sealed) == b'"content"'


def test_documents_keep_in_clear_what_the_server_needs(cipher):
    document = {"graph_id": "agent", "secret": "s", "number": 1}
    sealed = cipher.seal_document(PLACE, document, SYSTEM)
    assert sealed.keys() == {"graph_id", "__sealed__"}
    assert cipher.open_document(PLACE, sealed, SYSTEM) == document
    assert cipher.seal_document(PLACE, {"graph_id": "agent"}, SYSTEM) == {"graph_id": "agent"}


def test_a_document_with_a_key_named_as_ours_comes_back(cipher):
    document = {"__sealed__": "encrypted.aes:no", "a": 1}
    assert cipher.open_document(PLACE, cipher.seal_document(PLACE, document, NOTHING), NOTHING) == document


def test_metadata_are_in_clear_but_for_the_named_keys(cipher):
    sealed = cipher.seal_metadata(PLACE, {"name": {"first": "Ann"}, "team": "blue"})
    assert sealed["team"] == "blue"
    assert sealed["name"].startswith("encrypted.aes:")
    assert cipher.open_metadata(PLACE, sealed) == {"name": {"first": "Ann"}, "team": "blue"}


def test_a_text_that_only_looks_like_a_ciphertext_is_not_taken_for_one(cipher):
    metadata = {"team": "encrypted.aes:bm90aGluZw=="}
    assert cipher.open_metadata(PLACE, cipher.seal_metadata(PLACE, metadata)) == metadata


def test_rows_of_langgraphs_own_serializer_are_read():
    theirs = EncryptedSerializer.from_pycryptodome_aes(key=OTHER.raw)
    type_, data = theirs.dumps_typed({"messages": ["a", "b"]})
    assert type_ == "msgpack+aes"
    opened = AesCipher(ONE, [OTHER]).open_blob(PLACE, type_, data)
    assert JsonPlusSerializer().loads_typed(opened) == {"messages": ["a", "b"]}
    with pytest.raises(UndecipherableError, match="with a key that is not given"):
        AesCipher(ONE).open_blob(PLACE, type_, data)


def test_a_check_value_tells_keys_apart_and_nothing_else():
    assert ONE.check_value() == Key("first key, 16 b.").check_value()
    assert ONE.check_value() != OTHER.check_value()
    assert ONE.id.hex() not in ONE.check_value()


def test_a_missing_package_is_told_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(
        ConfigError, match=r"needs the package cryptography, .*: pip install 'threadloom\[encryption\]'"
    ):
        Key("x" * 16)


def test_without_pycryptodome_rows_of_langgraphs_serializer_are_told(cipher, monkeypatch):
    monkeypatch.setitem(sys.modules, "Crypto.Cipher", None)
    with pytest.raises(UndecipherableError, match="needs the package `pycryptodome`"):
        cipher.open_blob(PLACE, "msgpack+aes", b"x" * 40)
