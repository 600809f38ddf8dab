"""An authority as real ones are: a root that clients trust, an intermediate that signs, certificates of 80 days.

trustme's certificates end in the year 3000 and are marked in a way that strict clients refuse, so scanners and verifiers of the interop
tests get these. Used by test_sslyze.py.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LIFE = datetime.timedelta(days=80)
"""Less than the 90 days that Mozilla's modern profile allows."""
_PURPOSES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


class CertificateAuthority:
    """Writes `ca.pem`, the root, into `folder`, and every certificate it issues with its key and the intermediate's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root_key, self._key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
        name = _name("smtpfleet test root")
        self._root = _authority(name, self._root_key, name, self._root_key)
        self._intermediate = _authority(_name("smtpfleet test intermediate"), self._key, name, self._root_key)
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(_pem(self._root))

    def issue(
        self, stem: str, names: Sequence[str], *, is_rsa: bool = False, by_root: bool = False
    ) -> tuple[Path, Path]:
        """A certificate for `names`, with its chain unless the root itself signs, and its key."""
        issuer, issuer_key = (self._root, self._root_key) if by_root else (self._intermediate, self._key)
        key: Key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(names[0]), key, issuer.subject, issuer_key, LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_PURPOSES), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        chain, key_file = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        chain.write_bytes(_pem(certificate) + (b"" if by_root else _pem(issuer)))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        key_file.chmod(0o600)
        return chain, key_file


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    name: x509.Name, key: Key, issuer: x509.Name, issuer_key: Key, life: datetime.timedelta
) -> x509.CertificateBuilder:
    begins_at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _authority(name: x509.Name, key: Key, issuer: x509.Name, issuer_key: Key) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        _builder(name, key, issuer, issuer_key, datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
