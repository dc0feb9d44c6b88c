from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo_tui.errors import WebError
from apollo_tui.web.addresses import Access, is_public, matches, parse_address

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.100.100.200",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::1",
    "::",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "fe80::1%eth0",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_the_open_internet_is_refused(address: str) -> None:
    found = parse_address(address)
    assert not is_public(found)
    with pytest.raises(WebError, match="only public addresses are asked"):
        Access().check_address("example.org", 80, found)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::5db8:d822"])
def test_what_is_public_is_not(address: str) -> None:
    Access().check_address("example.org", 80, parse_address(address))


def test_a_private_host_must_be_named_and_link_local_by_its_address() -> None:
    access = Access(private=("intranet", "127.0.0.1:8000", "169.254.1.1"))
    access.check_address("intranet", 80, parse_address("10.0.0.1"))
    access.check_address("127.0.0.1", 8000, parse_address("127.0.0.1"))
    access.check_address("anything", 8000, parse_address("127.0.0.1"))  # the address is named
    access.check_address("169.254.1.1", 80, parse_address("169.254.1.1"))
    for host, port, address in [
        ("127.0.0.1", 8001, "127.0.0.1"),
        ("other", 80, "10.0.0.1"),
        ("intranet", 80, "169.254.169.254"),
        ("intranet", 80, "0.0.0.0"),
    ]:
        with pytest.raises(WebError):
            access.check_address(host, port, parse_address(address))


def test_only_listed_hosts_are_asked() -> None:
    access = Access(hosts=("arxiv.org", "*.python.org", "localhost:8000"))
    for host, port in [
        ("arxiv.org", 443),
        ("ARXIV.org.", 80),
        ("docs.python.org", 80),
        ("localhost", 8000),
    ]:
        access.check_host(host, port)
    for host, port in [
        ("export.arxiv.org", 443),
        ("python.org", 443),
        ("evilpython.org", 443),
        ("arxiv.org.evil.com", 443),
        ("localhost", 80),
    ]:
        with pytest.raises(WebError, match=r"this task allows only arxiv.org, \*.python.org"):
            access.check_host(host, port)


def test_ipv6_patterns() -> None:
    assert matches("::1", "::1", 80)
    assert matches("[::1]:80", "::1", 80)
    assert not matches("[::1]:80", "::1", 81)


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_hidden_in_ipv6_is_as_public_as_itself(number: int) -> None:
    plain = IPv4Address(number)
    hidden = [
        IPv6Address(0x64FF9B << 96 | number),  # NAT64
        IPv6Address(0xFFFF << 32 | number),  # mapped
    ]
    for address in hidden:
        assert is_public(parse_address(str(address))) == is_public(plain)
