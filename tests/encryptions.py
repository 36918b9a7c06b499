"""Ciphers for tests: one key, and handlers that need no service."""

from langgraph_sdk import Encryption

from threadloom.encryption.aes import AesCipher, Key
from threadloom.encryption.handler_storage import HandledStorage
from threadloom.encryption.handlers import Handlers
from threadloom.encryption.storage import SealedStorage

KEY = "a key of 24 characters.."


def reversing(calls=None, spared=()):
    """Handlers that turn everything around, and note each call as (way, model, field, what they were told).

    JSON of the `(model, field)` in `spared` stays in clear.
    """
    encryption = Encryption()
    noted = [] if calls is None else calls

    def note(way, ctx):
        noted.append((way, ctx.model, ctx.field, ctx.metadata))

    def masked(data: bytes) -> bytes:
        return bytes(255 - byte for byte in reversed(data))

    def turned(value):
        if isinstance(value, str):
            return value[::-1]
        if isinstance(value, list):
            return [turned(item) for item in value]
        if isinstance(value, dict):
            return {key: turned(item) for key, item in value.items()}
        return value

    @encryption.encrypt.blob
    async def encrypt_blob(ctx, blob):
        note("encrypt blob", ctx)
        return masked(blob)

    @encryption.decrypt.blob
    async def decrypt_blob(ctx, blob):
        note("decrypt blob", ctx)
        return masked(blob)

    @encryption.encrypt.json
    async def encrypt_json(ctx, data):
        note("encrypt json", ctx)
        return data if (ctx.model, ctx.field) in spared else turned(data)

    @encryption.decrypt.json
    async def decrypt_json(ctx, data):
        note("decrypt json", ctx)
        return data if (ctx.model, ctx.field) in spared else turned(data)

    return encryption


def with_aes(storage):
    """The storage, sealed with AES."""
    return SealedStorage(storage, AesCipher(Key(KEY)))


def with_handlers(storage, encryption=None):
    """The storage, sealed by handlers."""
    return HandledStorage(storage, Handlers(encryption or reversing(), "tests"))


SEARCHED = [(model, "metadata") for model in ("thread", "assistant", "cron")]
"""What has to be in clear to be searched for."""

CIPHERS = {
    "plain": lambda storage: storage,
    "AES": with_aes,
    "handlers": lambda storage: with_handlers(storage, reversing(spared=SEARCHED)),
}
"""What the contract suites pass with: ways to seal a storage, and none."""
