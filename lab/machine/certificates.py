"""The cluster's own certificate authorities and every certificate they sign; only their owner can read the files."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.atomic_write import atomic_write

VALID = dt.timedelta(days=365 * 3)


@dataclass(frozen=True, kw_only=True)
class CertificateSpec:
    """One certificate: for clients, and with ``hosts`` (names or addresses) for a server too."""

    name: str
    common_name: str
    organization: str | None = None
    hosts: tuple[str, ...] = ()
    authority: str = "ca"


def control_plane_parts(api_hosts: tuple[str, ...]) -> list[CertificateSpec]:
    """Return the certificates of any control plane: for its API server, which answers at ``api_hosts`` and identifies
    itself to extensions, and for the controller manager and the scheduler.
    """
    return [
        CertificateSpec(name="apiserver", common_name="kube-apiserver", hosts=api_hosts),
        CertificateSpec(name="front-proxy", common_name="front-proxy-client", authority="front-proxy-ca"),
        CertificateSpec(name="controller-manager", common_name="system:kube-controller-manager"),
        CertificateSpec(name="scheduler", common_name="system:kube-scheduler"),
    ]


def ensure(
    folder: Path, specs: Sequence[CertificateSpec], authorities: Sequence[str] = ("ca", "front-proxy-ca")
) -> None:
    """Write ``NAME.crt`` and ``NAME.key`` for each authority, each wanted certificate and the service-account signer
    ``sa``; existing ones stay."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in authorities:
        if not (folder / f"{name}.crt").exists():
            _authority(folder, name)
    if not (folder / "sa.key").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _write(folder / "sa.pub", public)
        _write_key(folder / "sa.key", key)
    for each in specs:
        if not (folder / f"{each.name}.crt").exists():
            _signed(folder, each)


def _name(common_name: str, organization: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALID)
    )


def _authority(folder: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"ebbtide-{name}")
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / f"{name}.key", key)
    _write(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _signed(folder: Path, spec: CertificateSpec) -> None:
    signer = serialization.load_pem_private_key((folder / f"{spec.authority}.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    authority = x509.load_pem_x509_certificate((folder / f"{spec.authority}.crt").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if spec.hosts:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(_name(spec.common_name, spec.organization), authority.subject, key)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if spec.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_san(h) for h in spec.hosts]), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    _write_key(folder / f"{spec.name}.key", key)
    _write(folder / f"{spec.name}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(file, pem)


def _write(file: Path, content: bytes) -> None:
    """Write the whole file or none: existing files stay, so half a certificate would stay for ever."""
    atomic_write(file, content.decode(), 0o600)
