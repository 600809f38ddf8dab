"""sslyze looks at our listeners as testssl does: versions, suites, known attacks, chain and name, Mozilla's profiles.

It has an environment of its own, `.venv/sslyze` (make test-interop makes it from requirements/sslyze.txt). The one thing it finds: X448
and secp521r1 are among the groups, which Mozilla's profiles leave out for their cost, not for weakness. Python's ssl can name one group
or none (set_ecdh_curve), and one alone would shut clients out, so OpenSSL's own list stays.
"""

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpfleet.local.fleet import Fleet
from smtpfleet.local.ports import free_ports
from tests.interop.certificate_authority import CertificateAuthority
from tests.interop.submission_ground import program, run

pytestmark = pytest.mark.interop

SSLYZE = Path(sys.prefix) / "sslyze/bin/sslyze"
MODERN = """
pki first cert "@ETC@/first.pem" key "@ETC@/first.key"
pki rsa cert "@ETC@/rsa.pem" key "@ETC@/rsa.key"
pki second cert "@ETC@/second.pem" key "@ETC@/second.key"
pki wild cert "@ETC@/wild.pem" key "@ETC@/wild.key"
ca clients cert "@ETC@/ca.pem"
listen on 127.0.0.1 port @SMTP_PORT@ tls pki first
listen on 127.0.0.1 port @SMTPS_PORT@ smtps pki rsa
listen on 127.0.0.1 port @VERIFY_PORT@ tls-require verify pki first ca clients
listen on 127.0.0.1 port @NAMES_PORT@ smtps pki first pki second pki wild
listen on 127.0.0.1 port @CIPHERS_PORT@ smtps pki first ciphers "ECDHE+CHACHA20"
listen on 127.0.0.1 port @PROTOCOLS_PORT@ smtps pki first protocols "tlsv1.3"
action "in" maildir
match from any for domain "example.test" action "in"
"""
DHPARAMS = """
pki rsa certificate "@ETC@/rsa.pem"
pki rsa key "@ETC@/rsa.key"
pki rsa dhparams "@ETC@/dh.pem"
listen on 127.0.0.1 port @SMTP_PORT@ tls pki rsa
accept from any for domain "example.test" deliver to maildir
"""
OUR_GROUPS = {"X25519", "X448", "secp256r1", "secp384r1", "secp521r1"}
VERSIONS = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")


class Ground:
    """A fleet with many listeners, of which only smtp-in and what it needs run."""

    def __init__(self, root: Path, config_text: str) -> None:
        etc = root / "etc"
        etc.mkdir()
        self.authority = CertificateAuthority(etc)
        self.authority.issue("first", ["localhost", "first.test"])
        self.authority.issue("rsa", ["localhost"], is_rsa=True)
        self.authority.issue("second", ["second.test", "also-second.test"])
        self.authority.issue("wild", ["*.wild.test"])
        self.client = self.authority.issue("client", ["client.test"], by_root=True)  # sslyze takes no chain
        self.dh_file = etc / "dh.pem"
        code, output = run(
            program("openssl"), "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe3072",
            "-out", str(self.dh_file),
        )  # fmt: skip
        assert code == 0, output
        names = ("smtps", "verify", "names", "ciphers", "protocols")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        for name, port in self.ports.items():
            config_text = config_text.replace(f"@{name.upper()}_PORT@", str(port))
        self.fleet = Fleet(root, replicas={"mda": 0, "mta": 0, "admin": 0}, config_text=config_text, exit_deadline_s=0.5)  # fmt: skip
        self.ports["starttls"] = self.fleet.smtp_port
        self._root = root

    def scan(self, listener: str, *options: str, profile: str = "intermediate") -> tuple[dict[str, Any], str]:
        """All that sslyze finds, and what it says about Mozilla's profile."""
        if listener in ("starttls", "verify"):
            options = (*options, "--starttls", "smtp")
        found = self._root / "scan.json"
        code, output = run(
            str(SSLYZE), "--json_out", str(found), "--certinfo_ca_file", str(self.authority.ca_file),
            "--mozilla_config", profile, "--early_data", "--resum", *options, f"localhost:{self.ports[listener]}",
        )  # fmt: skip
        assert found.exists(), (code, output)
        (result,) = json.loads(found.read_text())["server_scan_results"]
        found.unlink()
        return result, output.partition("COMPLIANCE AGAINST")[2]


def ground_with(config_text: str, root: Path) -> Iterator[Ground]:
    if not SSLYZE.exists():
        pytest.skip("no sslyze in .venv/sslyze: make test-interop installs it")
    ground = Ground(root, config_text)
    with ground.fleet:
        yield ground


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    yield from ground_with(MODERN, tmp_path_factory.mktemp("sslyze"))


@pytest.fixture(scope="module")
def dhparams_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    yield from ground_with(DHPARAMS, tmp_path_factory.mktemp("dhparams"))


@pytest.fixture(scope="module", params=["starttls", "smtps", "verify"])
def seen(request: pytest.FixtureRequest, ground: Ground) -> tuple[dict[str, Any], str]:
    """A scan of each of the three kinds of listener."""
    certificate, key = ground.client
    shown = ("--cert", str(certificate), "--key", str(key)) if request.param == "verify" else ()
    return ground.scan(request.param, *shown)


def part(result: dict[str, Any], name: str) -> dict[str, Any]:
    """The result of one of sslyze's commands, which must have been run to its end."""
    assert result["scan_status"] == "COMPLETED", result["connectivity_error_trace"]
    one = result["scan_result"][name]
    assert one["status"] == "COMPLETED", one
    return dict(one["result"])


def suites(result: dict[str, Any], version: str) -> set[str]:
    accepted = part(result, f"{version}_cipher_suites")["accepted_cipher_suites"]
    return {suite["cipher_suite"]["openssl_name"] for suite in accepted}


def chain_of(result: dict[str, Any]) -> dict[str, Any]:
    (chain,) = part(result, "certificate_info")["certificate_deployments"]
    return dict(chain)


def is_verified(chain: dict[str, Any]) -> bool:
    """Whether the root we gave makes the chain good for the name that was asked for."""
    (path,) = [path for path in chain["path_validation_results"] if path["trust_store"]["name"] == "Supplied CA file"]
    return bool(path["was_validation_successful"])


def test_only_tls_1_2_and_1_3(seen: tuple[dict[str, Any], str]) -> None:
    spoken = {version for version in VERSIONS if suites(seen[0], version)}
    assert spoken == {"tls_1_2", "tls_1_3"}


def test_only_suites_with_forward_secrecy_and_authenticated_encryption(seen: tuple[dict[str, Any], str]) -> None:
    ours = suites(seen[0], "tls_1_2")
    kinds = {suite.split("-", 2)[1] for suite in ours}
    assert kinds in ({"RSA"}, {"ECDSA"})
    (kind,) = kinds
    assert ours == {f"ECDHE-{kind}-{rest}" for rest in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")}
    assert suites(seen[0], "tls_1_3") == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
    assert {curve["name"] for curve in part(seen[0], "elliptic_curves")["supported_curves"]} <= OUR_GROUPS


@pytest.mark.parametrize(
    ("command", "finding", "expected"),
    [
        ("tls_compression", "supports_compression", False),
        ("tls_1_3_early_data", "supports_early_data", False),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", False),
        ("heartbleed", "is_vulnerable_to_heartbleed", False),
        ("robot", "robot_result", "NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", False),
        ("session_renegotiation", "client_renegotiations_success_count", 0),
        ("session_renegotiation", "supports_secure_renegotiation", True),
        ("tls_fallback_scsv", "supports_fallback_scsv", True),
        ("tls_extended_master_secret", "supports_ems_extension", True),
        ("session_resumption", "tls_ticket_resumption_result", "NOT_SUPPORTED"),
    ],
)
def test_known_attacks(seen: tuple[dict[str, Any], str], command: str, finding: str, expected: object) -> None:
    assert part(seen[0], command)[finding] == expected


def test_the_chain_is_whole_and_for_our_name(seen: tuple[dict[str, Any], str]) -> None:
    chain = chain_of(seen[0])
    assert is_verified(chain)
    assert chain["received_chain_has_valid_order"] and not chain["received_chain_contains_anchor_certificate"]
    assert len(chain["received_certificate_chain"]) == 2 and len(chain["verified_certificate_chain"]) == 3


def test_mozilla_intermediate(seen: tuple[dict[str, Any], str]) -> None:
    assert issues(seen[1]) <= {"tls_curves"}, seen[1]


def issues(compliance: str) -> set[str]:
    """What a profile finds fault with."""
    assert "Checking results against" in compliance, compliance
    lines = [line.strip() for line in compliance.splitlines()]
    found = {line[2:].partition(":")[0] for line in lines if line.startswith("* ")}
    assert found or any(line.endswith("OK - Compliant.") for line in lines), compliance
    return found


def test_verify_lets_nobody_in_without_a_certificate(ground: Ground) -> None:
    result, output = ground.scan("verify")
    assert result["scan_status"] == "ERROR_NO_CONNECTIVITY", output


@pytest.mark.parametrize(
    ("name", "subject", "is_good"),
    [
        ("first.test", "first.test", True),
        ("second.test", "second.test", True),
        ("also-second.test", "second.test", True),
        ("a.wild.test", "*.wild.test", True),
        ("wild.test", "localhost", False),
        ("a.b.wild.test", "localhost", False),
        ("elsewhere.test", "localhost", False),
    ],
)
def test_the_certificate_is_chosen_by_name(ground: Ground, name: str, subject: str, is_good: bool) -> None:
    result, _ = ground.scan("names", "--sni", name)
    chain = chain_of(result)
    assert subject in chain["received_certificate_chain"][0]["subject_alternative_name"]["dns_names"]
    assert is_verified(chain) is is_good


def test_ciphers_of_the_listener(ground: Ground) -> None:
    result, _ = ground.scan("ciphers")
    assert suites(result, "tls_1_2") == {"ECDHE-ECDSA-CHACHA20-POLY1305"}
    assert suites(result, "tls_1_3")


def test_protocols_of_the_listener_make_mozilla_modern(ground: Ground) -> None:
    result, compliance = ground.scan("protocols", profile="modern")
    assert not suites(result, "tls_1_2") and suites(result, "tls_1_3")
    assert issues(compliance) <= {"tls_curves"}, compliance


def test_dhparams_add_dhe_with_the_operators_group(dhparams_ground: Ground) -> None:
    result, compliance = dhparams_ground.scan("starttls")
    accepted = part(result, "tls_1_2_cipher_suites")["accepted_cipher_suites"]
    dhe = {suite["cipher_suite"]["openssl_name"]: suite["ephemeral_key"] for suite in accepted
           if suite["cipher_suite"]["openssl_name"].startswith("DHE-")}  # fmt: skip
    assert set(dhe) == {"DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-CHACHA20-POLY1305"}
    group = base64.b64decode("".join(dhparams_ground.dh_file.read_text().splitlines()[1:-1]))
    assert all(key["size"] == 3072 and base64.b64decode(key["prime"]) in group for key in dhe.values()), dhe
    assert issues(compliance) <= {"tls_curves"}, compliance
