"""Certificates for a server on this machine, made on the spot and thrown away with it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=7)  # longer than any demo, and useless to whoever finds one


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files, those of `server` and `client` with their private key."""

    ca: Path
    wrong_ca: Path  # signed neither, for the test of a verification that fails
    server: Path  # for localhost and 127.0.0.1
    client: Path


def write_certificates(folder: Path) -> Certificates:
    """Make a CA, a server and a client certificate in a new `folder`."""
    folder.mkdir(mode=0o700)
    ca, ca_key = _authority("Parts CA")
    _write(folder / "ca.pem", ca)
    _write(folder / "wrong-ca.pem", _authority("Some other CA")[0])
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            _builder(f"Parts {name}", key.public_key())
            .issuer_name(ca.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(here), critical=False)
            # Both for both: a member of a replica set is a client of the other members, and of itself.
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        _write(folder / f"{name}.pem", certificate, key)
    return Certificates(*(folder / f"{name}.pem" for name in ("ca", "wrong-ca", "server", "client")))


def _authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    signs = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    ) | {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
    builder = _builder(name, key.public_key())
    # Python 3.13 verifies strictly and wants the use and the identifiers of keys.
    certificate = (
        builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**signs), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _builder(name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks in containers differ
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None = None) -> None:
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    if key:
        pem += key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    path.touch(mode=0o600)
    path.write_bytes(pem)
