"""Find the client's address. Only trusted proxies may name another than the sender's own."""

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from shared.addresses import ClientAddresses

PROXY, OTHER_PROXY, CLIENT = "10.0.0.1", "10.0.0.2", "203.0.113.9"
NETWORK = "2001:db8:1:2::/64"


@pytest.mark.parametrize(
    ("remote", "forwarded", "expected"),
    [
        (CLIENT, None, CLIENT),
        (CLIENT, "198.51.100.1", CLIENT),
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"198.51.100.1, {CLIENT}", CLIENT),
        (PROXY, f"{CLIENT}, {OTHER_PROXY}", CLIENT),
        (PROXY, None, PROXY),
        (PROXY, "unknown", PROXY),
        (PROXY, f"unknown, {OTHER_PROXY}", OTHER_PROXY),
        (PROXY, "", PROXY),
        ("2001:db8:1:2:3::4", None, NETWORK),
        (PROXY, "2001:db8:1:2:ffff::1", NETWORK),
        (f"::ffff:{CLIENT}", None, CLIENT),
        (f"::ffff:{PROXY}", CLIENT, CLIENT),
        ("", None, "unknown"),
        (PROXY, f"{CLIENT}:41234", CLIENT),
        (PROXY, "[2001:db8:1:2::7]:41234", NETWORK),
    ],
)
def test_the_client_is_the_last_address_before_the_trusted_proxies(
    remote: str, forwarded: str | None, expected: str
) -> None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=remote)
    assert ClientAddresses([ip_network("10.0.0.0/8")]).of(request) == expected
