"""Certificates for the SuperLink's TLS, and the key pairs by which SuperNodes are known.

    ca.key, ca.pem           the authority: every SuperNode and every user needs the .pem alone
    server.key, server.pem   the SuperLink's certificate, signed by the authority
    <node>.key, <node>.pub   one pair per SuperNode: the SuperLink's owner needs only the .pub

The files are of the kinds that Flower reads: PEM for TLS, and OpenSSH on a NIST curve for nodes.
"""

import datetime
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from federation.deployment._x509 import certificate, general_name, pem, subject, usage
from sensors.errors import InputError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
DAYS = 365
_CURVE = ec.SECP384R1()


@dataclass(frozen=True)
class Keys:
    """The files of one folder of keys."""

    folder: Path

    @property
    def root_certificate(self) -> Path:
        """What SuperNodes and users verify the SuperLink by (`--root-certificates`)."""
        return self.folder / "ca.pem"

    @property
    def server_certificate(self) -> Path:
        """The SuperLink's certificate (`--ssl-certfile`)."""
        return self.folder / "server.pem"

    @property
    def server_key(self) -> Path:
        """The SuperLink's private key (`--ssl-keyfile`)."""
        return self.folder / "server.key"

    def private(self, node: str) -> Path:
        """A node's private key (`--auth-supernode-private-key`)."""
        return self.folder / f"{node}.key"

    def public(self, node: str) -> Path:
        """A node's public key (`flwr supernode register`)."""
        return self.folder / f"{node}.pub"


def make_keys(
    folder: str | Path,
    nodes: Iterable[str],
    hosts: Iterable[str] = (),
    *,
    days: int = DAYS,
    overwrite: bool = False,
) -> Keys:
    """Make an authority, the SuperLink's certificate and one key pair per node.

    Args:
        folder: Where the files go; made if it is not there.
        nodes: Names of the nodes, which become file names.
        hosts: Names and addresses by which the SuperLink is reached, beside those of loopback.
        days: How long the certificates are valid.
        overwrite: Whether files that are there already are replaced.

    Raises:
        InputError: If a file is there already, or a name cannot be a node's.
    """
    keys = Keys(Path(folder).expanduser().resolve())
    nodes = list(nodes)
    for node in nodes:
        _check_name(node)
    files = [keys.folder / "ca.key", keys.root_certificate]
    files += [keys.server_key, keys.server_certificate]
    files += [file for node in nodes for file in (keys.private(node), keys.public(node))]
    there = [file.name for file in files if file.exists()]
    if there and not overwrite:
        raise InputError(
            f"{keys.folder} holds {', '.join(there)} already, and nodes may be known by them: "
            "choose another folder, or replace them with --overwrite"
        )
    _make_authority(keys, days)
    make_server_certificate(keys, hosts, days=days)
    for node in nodes:
        make_node_key(keys, node, overwrite=overwrite)
    return keys


def make_server_certificate(keys: Keys, hosts: Iterable[str] = (), *, days: int = DAYS) -> None:
    """Make the SuperLink a new key and a certificate, replacing those that are there.

    Nobody but the SuperLink holds them, so nobody has to be told of a new pair.

    Args:
        keys: A folder with an authority.
        hosts: As in `make_keys`.
        days: How long it is valid.

    Raises:
        InputError: If there is no authority.
    """
    authority, root = _load_authority(keys)
    key = ec.generate_private_key(_CURVE)
    names = [general_name(host) for host in dict.fromkeys((*LOOPBACK, *hosts))]
    built = (
        certificate("terraguild SuperLink", key, root.subject, authority, days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(usage(digital_signature=True), critical=True)
        .sign(authority, hashes.SHA384())
    )
    _write_private(keys.server_key, pem(key))
    _write(keys.server_certificate, built.public_bytes(serialization.Encoding.PEM))


def serves(keys: Keys, hosts: Iterable[str]) -> bool:
    """Whether the SuperLink's certificate is there, still valid, and names all these hosts."""
    if not (keys.server_certificate.exists() and keys.server_key.exists()):
        return False
    present = x509.load_pem_x509_certificate(keys.server_certificate.read_bytes())
    names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if datetime.datetime.now(datetime.UTC) > present.not_valid_after_utc:
        return False
    return all(general_name(host) in names for host in hosts)


def make_node_key(keys: Keys, node: str, *, overwrite: bool = False) -> None:
    """Make the key pair of one node: `<node>.key` stays with it, `<node>.pub` is registered.

    Raises:
        InputError: If there is one already, or the name cannot be a node's.
    """
    _check_name(node)
    if keys.private(node).exists() and not overwrite:
        raise InputError(
            f"{keys.private(node)} is there already: choose another name for the node, or replace "
            "its key with --overwrite"
        )
    key = ec.generate_private_key(_CURVE)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    _make_folder(keys)
    _write_private(keys.private(node), private)
    _write(keys.public(node), public + f" {node}\n".encode())


def _make_authority(keys: Keys, days: int) -> None:
    _make_folder(keys)
    key = ec.generate_private_key(_CURVE)
    name = "terraguild federation authority"
    built = (
        certificate(name, key, subject(name), key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA384())
    )
    _write_private(keys.folder / "ca.key", pem(key))
    _write(keys.root_certificate, built.public_bytes(serialization.Encoding.PEM))


def _make_folder(keys: Keys) -> None:
    if not keys.folder.exists():
        keys.folder.mkdir(parents=True)
        keys.folder.chmod(0o700)


def _load_authority(keys: Keys) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = serialization.load_pem_private_key((keys.folder / "ca.key").read_bytes(), None)
        root = x509.load_pem_x509_certificate(keys.root_certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{keys.folder} holds no authority that can sign ({error}): make one with "
            "`federation-loopback keys`"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"{keys.folder / 'ca.key'} is not an elliptic-curve key")
    return key, root


def _check_name(node: str) -> None:
    if not node.replace("-", "").isalnum() or not node.isascii() or node in ("ca", "server"):
        raise InputError(
            f"{node!r} cannot be a node's name: take letters, digits and hyphens, and neither "
            "ca nor server"
        )


def _write_private(path: Path, content: bytes) -> None:
    # Born with its mode: a file that is narrowed after it was written could be read in between.
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
