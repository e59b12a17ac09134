"""Which addresses a name may lead to.

They are found where the connection is made, and the connection goes to one that was found: a name that resolves anew
in between leads nowhere else.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""What the rest of the world may have: loopback, site-local, link-local, compatible and local NAT64 are outside."""
_PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")


class PrivateAddress(Exception):
    """A name leads to an address of this machine, of a private network, or of nobody. Nothing was sent to it."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is a private address")
        self.address = address


class NoAddress(Exception):
    """A name leads to no address. Nothing was sent."""


def public_addresses(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, in the order of the resolver; all of them are public.

    Raises PrivateAddress if one address is not public, and NoAddress if there is none.
    """
    return _find(host, port, 0)


def check_spelled(host: str, port: int) -> Sequence[str]:
    """The address that a host is by itself, in any spelling; a name has none, and nobody is asked.

    Raises PrivateAddress if it is not public.
    """
    try:
        return _find(host, port, socket.AI_NUMERICHOST)
    except NoAddress:
        return ()


def _find(host: str, port: int, flags: int) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:
        raise NoAddress(f"{host} has no address") from error
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    for address in addresses:
        if not is_public(address):
            raise PrivateAddress(address)
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is one of the internet at large, also behind the forms that IPv6 has for IPv4's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _translated(ip)
        if inner is None:
            return ip in _GLOBAL_UNICAST and ip.is_global and not ip.is_multicast
        ip = inner
    return ip.is_global and not ip.is_multicast and ip not in _PROTOCOL_ASSIGNMENTS


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is asked in the end: of a mapped or 6to4 address, and of one that a NAT64 translates."""
    nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else None
    return ip.ipv4_mapped or ip.sixtofour or nat64
