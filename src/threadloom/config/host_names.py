"""Names of hosts: what a `Host` header names, which names mean this machine, and which fit a pattern."""

import contextlib
import re
from ipaddress import IPv6Address, ip_address

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?")


def host_of(text: str) -> str:
    """The host of `host`, `host:port` or `[address]:port`, in lower case, without brackets, port and last dot.

    What has none of these forms is given as it is, brackets and all, so that it is no name that anything fits.
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
    """Whether a host, as `host_of` gives it, is the loopback: `localhost`, a name below it, or such an address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        address = ip_address(host)
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            return address.ipv4_mapped.is_loopback
        return address.is_loopback
    return False


def fits(host: str, pattern: str) -> bool:
    """Whether a host is the one of a pattern: a name, `*.name` (names below it only) or `*`."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in ("*", host)
