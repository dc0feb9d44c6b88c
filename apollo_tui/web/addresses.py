"""Where a request may lead: host names as they are written, and addresses as they were looked up.

A name says nothing about where it leads, so both are checked, at every hop of a redirect, and the
connection is made to the very address that was checked (see `fetch.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from apollo_tui.errors import WebError

Address = IPv4Address | IPv6Address

_TRANSLATED = IPv6Network("64:ff9b::/96")  # an IPv4 address behind a NAT64 gateway


@dataclass(frozen=True)
class Access:
    """Which hosts may be asked. Patterns are "name", "*.name" (what ends so) or either with ":port".

    `hosts`: only these; none: all. `private`: those that may lead to an address of the machine or of
    its private networks. Link-local addresses (the metadata service of a cloud) are always refused,
    unless `private` names the address itself.
    """

    hosts: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    def check_host(self, host: str, port: int) -> None:
        """Raises WebError for a host that is not among `hosts`."""
        if self.hosts and not any(matches(one, host, port) for one in self.hosts):
            raise WebError(
                f"{host} may not be asked: this task allows only {', '.join(self.hosts)}"
            )

    def check_address(self, host: str, port: int, address: Address) -> None:
        """Raises WebError for an address that a public host should not have."""
        if is_public(address) or any(matches(one, str(address), port) for one in self.private):
            return
        ordinary = not (address.is_link_local or address.is_multicast or address.is_unspecified)
        if ordinary and any(matches(one, host, port) for one in self.private):
            return
        leads = f"{host} leads to {address}" if host != str(address) else f"{host} is an address"
        raise WebError(
            f"{leads}, inside a private network or of this machine; only public addresses are asked"
        )


def matches(pattern: str, host: str, port: int) -> bool:
    """Whether a host is meant by a pattern. IPv6 addresses with a port are written [::1]:80."""
    name, wanted_port = _split(pattern.lower())
    if wanted_port is not None and wanted_port != port:
        return False
    host = host.lower().rstrip(".")
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) > len(name) - 1
    return host == name


def _split(pattern: str) -> tuple[str, int | None]:
    if pattern.startswith("["):
        name, _, port = pattern[1:].partition("]")
        port = port.removeprefix(":")
    elif pattern.count(":") == 1:
        name, _, port = pattern.partition(":")
    else:
        name, port = pattern, ""
    return name, int(port) if port else None


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet, and so is every address it carries inside."""
    if not address.is_global or address.is_multicast:
        return False
    return all(is_public(inner) for inner in _carried(address))


def _carried(address: Address) -> Iterable[IPv4Address]:
    """IPv4 addresses that an IPv6 address leads on to."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _TRANSLATED:
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def parse_address(text: str) -> Address:
    """An address as a resolver tells it, perhaps with a zone (fe80::1%eth0)."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address
