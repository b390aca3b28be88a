"""The local cluster's certificates: who vouches for whom, under which names, and who can read the keys."""

from __future__ import annotations

import datetime as dt
import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from lab.machine import certificates
from lab.machine.control_plane import API_SERVICE, CONTROL_ADDRESS, NODES
from lab.machine.control_plane import certificates as declared


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "pki"
    certificates.ensure(folder, declared())
    return folder


def load(pki: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((pki / f"{name}.crt").read_bytes())


def policy(pki: Path, authority: str) -> PolicyBuilder:
    return PolicyBuilder().store(Store([load(pki, authority)])).time(dt.datetime.now(dt.UTC))


def purposes(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


@pytest.mark.parametrize("host", ["kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"])
def test_the_api_server_is_believed_under_its_names(pki: Path, host: str) -> None:
    policy(pki, "ca").build_server_verifier(x509.DNSName(host)).verify(load(pki, "apiserver"), [])


@pytest.mark.parametrize("address", ["127.0.0.1", CONTROL_ADDRESS, API_SERVICE])
def test_the_api_server_is_believed_under_its_addresses(pki: Path, address: str) -> None:
    name = x509.IPAddress(ipaddress.ip_address(address))
    policy(pki, "ca").build_server_verifier(name).verify(load(pki, "apiserver"), [])


def test_the_api_server_is_not_believed_under_another_name_or_by_another_authority(pki: Path) -> None:
    for authority, host in (("ca", "example.com"), ("front-proxy-ca", "localhost")):
        verifier = policy(pki, authority).build_server_verifier(x509.DNSName(host))
        with pytest.raises(VerificationError):
            verifier.verify(load(pki, "apiserver"), [])


def test_each_kubelet_serves_under_its_own_address_only(pki: Path) -> None:
    for node in NODES:
        certificate = load(pki, f"kubelet-{node.name}")
        for other in NODES:
            name = x509.IPAddress(ipaddress.ip_address(other.address))
            verifier = policy(pki, "ca").build_server_verifier(name)
            if other is node:
                verifier.verify(certificate, [])
            else:
                with pytest.raises(VerificationError):
                    verifier.verify(certificate, [])


def test_every_certificate_is_signed_by_the_authority_it_names(pki: Path) -> None:
    for each in declared():
        load(pki, each.name).verify_directly_issued_by(load(pki, each.authority))


def test_a_clients_certificate_cannot_pose_as_a_server(pki: Path) -> None:
    for each in declared():
        serves = ExtendedKeyUsageOID.SERVER_AUTH in purposes(load(pki, each.name))
        assert serves == bool(each.hosts), each.name
        assert ExtendedKeyUsageOID.CLIENT_AUTH in purposes(load(pki, each.name))


def test_no_certificate_can_sign_another(pki: Path) -> None:
    for each in declared():
        with pytest.raises(x509.ExtensionNotFound):
            load(pki, each.name).extensions.get_extension_for_class(x509.BasicConstraints)


def test_rights_are_as_narrow_as_kubernetes_own_names_make_them(pki: Path) -> None:
    subjects = {}
    for each in declared():
        subject = load(pki, each.name).subject
        groups = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        subjects[str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)] = groups
    masters = {name for name, groups in subjects.items() if groups == ["system:masters"]}
    assert masters == {"ebbtide-admin", "kube-apiserver-kubelet-client"}
    for node in NODES:
        assert subjects[f"system:node:{node.name}"] == ["system:nodes"]
    assert subjects["system:kube-scheduler"] == subjects["system:kube-controller-manager"] == []


def test_keys_belong_to_their_certificates_and_only_root_can_read_them(pki: Path) -> None:
    assert stat.S_IMODE(pki.stat().st_mode) == 0o700
    keys = sorted(pki.glob("*.key"))
    assert len(keys) == len(declared()) + 3
    for file in keys:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        public = serialization.load_pem_private_key(file.read_bytes(), None).public_key()
        theirs = (
            serialization.load_pem_public_key((pki / "sa.pub").read_bytes())
            if file.stem == "sa"
            else load(pki, file.stem).public_key()
        )
        assert public == theirs, file.name


def test_asking_again_changes_nothing_and_a_lost_certificate_is_made_anew(tmp_path: Path) -> None:
    certificates.ensure(tmp_path, declared())
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    certificates.ensure(tmp_path, declared())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    (tmp_path / "admin.crt").unlink()
    certificates.ensure(tmp_path, declared())
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"admin.crt", "admin.key"}
    load(tmp_path, "admin").verify_directly_issued_by(load(tmp_path, "ca"))


def test_an_interruption_leaves_no_half_certificate_that_would_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        """Written, but not in its place yet."""
        if target.name == "apiserver.crt":
            raise KeyboardInterrupt
        return whole(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            certificates.ensure(tmp_path, declared())
    certificates.ensure(tmp_path, declared())
    load(tmp_path, "apiserver").verify_directly_issued_by(load(tmp_path, "ca"))
    assert not list(tmp_path.glob(".*"))
