"""One key for an address, however it is spelled."""

import pytest

from smtpfleet.mail.addrname import addrname_key, addrname_spellings


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("2001:db8::1", "ipv6:2001:db8::1"),
        ("[2001:db8::1]", "ipv6:2001:db8::1"),
        ("IPv6:2001:db8::1", "ipv6:2001:db8::1"),
        ("[IPv6:2001:DB8:0:0::1]", "ipv6:2001:db8::1"),
        ("fe80::1%eth0", "ipv6:fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("192.0.2.0/24", ""),
        ("mx.example.test", ""),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_spellings_of_an_address_have_one_key(text: str, key: str) -> None:
    assert addrname_key(text) == key
    if key:
        assert all(addrname_key(spelling) == key for spelling in addrname_spellings(key))


def test_what_a_database_is_asked_for() -> None:
    assert addrname_spellings("ipv6:2001:db8::1") == ("ipv6:2001:db8::1", "2001:db8::1", "[2001:db8::1]")
    assert addrname_spellings("192.0.2.1") == ("192.0.2.1", "[192.0.2.1]")
