"""Where the commands that serve a page listen, and what all that they send has in common."""

import hmac
from ipaddress import IPv6Address, ip_address

from chatladder.io.console import DataError

#: Headers of every answer: no cache may keep it, no other host hear of it, no other page hold it.
SEALED = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def spelled(host: str, port: int) -> str:
    """Return an address as browsers spell it in Host and Origin."""
    name = f"[{host}]" if ":" in host else host
    return name if port == 80 else f"{name}:{port}"


def equal(given: str, expected: str) -> bool:
    """Compare a secret with what somebody brought, in a time that does not tell how much of it was right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def listening_address(host: str, *, is_exposed: bool) -> str:
    """The address that a host means, in the one spelling that browsers have for it.

    Raises:
        DataError: If the host is no address, or it is every address at once, or others reach it and that was not asked
            for.
    """
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    # Browsers have no spelling for an address with a zone.
    if address is None or "%" in host:
        raise DataError(f"--host {host!a}: expected an address such as 127.0.0.1.")
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_unspecified:
        raise DataError(f"--host {host}: expected the one address under which others reach this machine.")
    if not address.is_loopback and not is_exposed:
        raise DataError(
            f"--host {host}: others could reach the chat there, unencrypted. Add --expose if that is meant, "
            "or leave --host out and come through an SSH tunnel."
        )
    return str(address)
