"""Host names: parses `Host` headers, recognizes the loopback, and matches patterns."""

import contextlib
import re
from ipaddress import IPv6Address, ip_address

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?")


def host_of(text: str) -> str:
    """Returns the host of `host`, `host:port` or `[address]:port`, in lower case, without brackets, port and last dot.

    A text of any other form is returned unchanged, including brackets, so that it matches no name.
    """
    bracketed = _BRACKETED.fullmatch(text.strip())
    if bracketed is not None:
        name = bracketed[1]
    else:
        name, colon, port = text.rpartition(":")
        if not colon or ":" in name or not (port.isdigit() or not port):
            name = text
    return name.strip().lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Returns whether a host, as `host_of` returns it, is the loopback: `localhost`, a name below it, or a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped.is_loopback
        return address.is_loopback
    return False


def fits(host: str, pattern: str) -> bool:
    """Returns whether a host matches a pattern: a name, `*.name` (only names below it) or `*`."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in ("*", host)
