"""The real host: its addresses and name as the kernel and the operator tell."""

import ipaddress
import sys

import pytest

from smtpfleet.config.language.host_discovery import discover_host, resolve_addresses


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="interfaces are read the Linux way")
def test_loopback_is_an_interface_with_its_address() -> None:
    host = discover_host("mx.example.test")
    assert ("lo", "127.0.0.1") in host.interfaces
    assert {"127.0.0.1", "::1"} <= set(host.local_addresses)
    assert all(ipaddress.ip_address(address) for _, address in host.interfaces)
    assert host.local_addresses == tuple(sorted(host.local_addresses))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", ("127.0.0.1", "::1")),
        ("192.0.2.1, 2001:db8::1 192.0.2.1", ("127.0.0.1", "192.0.2.1", "2001:db8::1", "::1")),
    ],
)
def test_the_operator_says_what_is_local(given: str, found: tuple[str, ...]) -> None:
    assert discover_host("mx.example.test", given).local_addresses == found


def test_the_operator_says_the_name() -> None:
    host = discover_host("MX.Example.TEST")
    assert (host.server_name, host.name_fault) == ("mx.example.test", "")


def test_the_system_has_a_name_or_a_reason_why_not() -> None:
    host = discover_host()
    assert bool(host.server_name) != bool(host.name_fault)


def test_names_resolve_to_addresses_or_to_nothing() -> None:
    assert "127.0.0.1" in resolve_addresses("localhost") or "::1" in resolve_addresses("localhost")
    assert resolve_addresses("a..b") == ()
    assert resolve_addresses("x" * 300) == ()
