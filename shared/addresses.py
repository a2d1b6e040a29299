"""Whom a request comes from, as limits count it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

Network = IPv4Network | IPv6Network
#: Whoever has one IPv6 address has a network of this many bits, and all addresses in it.
IPV6_BITS = 64


class ClientAddresses:
    """Believe X-Forwarded-For only from a trusted proxy: any client can send this header."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    def of(self, request: web.Request) -> str:
        """Return the last address before the trusted proxies; of an IPv6 address its network.

        If a proxy added no valid address to the header, return that proxy's own address.
        """
        address = _parse(request.remote or "")
        hops = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        for hop in reversed(hops):
            parsed = _parse(_without_port(hop.strip()))
            if parsed is None or not self._is_trusted(address):
                break
            address = parsed
        if isinstance(address, IPv6Address):
            return str(IPv6Network((address, IPV6_BITS), strict=False))
        return str(address or "unknown")

    def _is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _without_port(hop: str) -> str:
    """Some gateways write `203.0.113.7:41234`, or `[2001:db8::1]:41234`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
