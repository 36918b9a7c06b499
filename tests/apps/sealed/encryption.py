"""Handlers that need no service: a text is turned around behind a mark, bytes are masked. Calls are noted in a file.

`SEALED_CALLS` names that file. With `SEALED_MARK` another mark is written, and what bears the old one is replaced (a new key);
with `SEALED_FAIL` decryptors fail.
"""

import json
import os
from pathlib import Path

from langgraph_sdk import Encryption
from langgraph_sdk.encryption.types import DecryptResult

sealed = Encryption()
broken = Encryption()
nothing = object()

MARKS = ("one", "two")
MARK = os.environ.get("SEALED_MARK", "one")
OWNER = ("owner", "team")


def note(way, ctx):
    path = os.environ.get("SEALED_CALLS")
    if path:
        with Path(path).open("a") as file:
            file.write(json.dumps([way, ctx.model, ctx.field, ctx.metadata]) + "\n")


def masked(data):
    return bytes(byte ^ 255 for byte in data)


def fail():
    if os.environ.get("SEALED_FAIL"):
        raise RuntimeError("no key for you")


@sealed.encrypt.blob
async def encrypt_blob(ctx, blob):
    note("encrypt blob", ctx)
    return MARK.encode() + masked(blob)


@sealed.decrypt.blob
async def decrypt_blob(ctx, blob):
    note("decrypt blob", ctx)
    fail()
    mark, plain = blob[:3].decode(), masked(blob[3:])
    assert mark in MARKS
    return plain if mark == MARK else DecryptResult(plain, MARK.encode() + blob[3:])


@sealed.encrypt.json
async def encrypt_json(ctx, data):
    note("encrypt json", ctx)
    return {key: value if key in OWNER else f"{MARK}:{json.dumps(value)[::-1]}" for key, value in data.items()}


@sealed.decrypt.json
async def decrypt_json(ctx, data):
    note("decrypt json", ctx)
    fail()
    plain, again, old = {}, {}, False
    for key, value in data.items():
        plain[key] = again[key] = value
        if isinstance(value, str) and value[:3] in MARKS and value[3:4] == ":":
            plain[key] = json.loads(value[4:][::-1])
            again[key] = f"{MARK}:{value[4:]}"
            old = old or value[:3] != MARK
    return DecryptResult(plain, again) if old else plain


@sealed.context
async def context(user, ctx):
    return {**ctx.metadata, "asked": user.identity if user.is_authenticated else True}


@broken.encrypt.json
async def encrypt_together(ctx, data):
    return {"all": json.dumps(data)[::-1]} if data else data


@broken.decrypt.json
async def decrypt_together(ctx, data):
    return json.loads(data["all"][::-1]) if data else data
