import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from federation.deployment.keys import (
    make_keys,
    make_node_key,
    make_server_certificate,
    serves,
)
from sensors import InputError


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path / "keys", ["node-0", "node-1"], ["superlink.example.org", "10.1.2.3"])


def test_only_the_owner_can_read_private_keys(keys):
    private = [keys.folder / "ca.key", keys.server_key, keys.private("node-0")]
    for path in [*private, keys.private("node-1")]:
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert keys.folder.stat().st_mode & 0o777 == 0o700


def test_openssl_verifies_the_chain_and_the_names(keys):
    def verify(*options):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", keys.root_certificate]
        return subprocess.run([*command, *options, keys.server_certificate], capture_output=True)

    for options in (
        ["-verify_hostname", "localhost"],
        ["-verify_hostname", "superlink.example.org"],
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "::1"],
        ["-verify_ip", "10.1.2.3"],
        ["-purpose", "sslserver"],
    ):
        done = verify(*options)
        assert done.returncode == 0, (options, done.stderr)
    assert verify("-verify_hostname", "elsewhere.example.org").returncode != 0


def test_server_key_belongs_to_its_certificate(keys):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.server_certificate, keys.server_key)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(keys.server_certificate, keys.folder / "ca.key")


def test_node_keys_are_pairs_on_a_curve_that_flower_takes(keys):
    publics = []
    for node in ("node-0", "node-1"):
        private = load_ssh_private_key(keys.private(node).read_bytes(), None)
        public = load_ssh_public_key(keys.public(node).read_bytes())
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        assert private.curve.name in ("secp256r1", "secp384r1", "secp521r1")
        assert private.public_key() == public
        publics.append(keys.public(node).read_bytes().split()[1])
    assert publics[0] != publics[1]


def test_nothing_is_overwritten_unless_told(keys):
    before = {path: path.read_bytes() for path in keys.folder.iterdir()}
    with pytest.raises(InputError, match=r"ca\.key.*node-0\.key.*--overwrite"):
        make_keys(keys.folder, ["node-0"])
    with pytest.raises(InputError, match=r"node-1\.key is there already"):
        make_node_key(keys, "node-1")
    assert {path: path.read_bytes() for path in keys.folder.iterdir()} == before

    make_keys(keys.folder, ["node-0"], overwrite=True)
    after = {path: path.read_bytes() for path in keys.folder.iterdir()}
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed == {"ca.key", "ca.pem", "server.key", "server.pem", "node-0.key", "node-0.pub"}


def test_a_new_server_certificate_of_the_same_authority(keys):
    root = keys.root_certificate.read_bytes()
    assert serves(keys, ["localhost", "10.1.2.3"])
    assert not serves(keys, ["10.9.9.9"])
    make_server_certificate(keys, ["10.9.9.9"])
    assert serves(keys, ["localhost", "10.9.9.9"])
    assert keys.root_certificate.read_bytes() == root


def test_an_expired_certificate_does_not_serve(tmp_path):
    keys = make_keys(tmp_path, [], days=0)
    certificate = x509.load_pem_x509_certificate(keys.server_certificate.read_bytes())
    assert certificate.not_valid_before_utc < certificate.not_valid_after_utc
    assert not serves(keys, ["localhost"])


@pytest.mark.parametrize("name", ["", "ca", "server", "../node", "a b", "node.1", "knoten-ö"])
def test_names_that_cannot_be_files(tmp_path, name):
    with pytest.raises(InputError, match="node's name"):
        make_keys(tmp_path, [name])
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_a_host(tmp_path):
    with pytest.raises(InputError, match="neither an address nor a host name"):
        make_keys(tmp_path, [], ["höst"])


def test_no_authority(tmp_path):
    keys = make_keys(tmp_path, [])
    (tmp_path / "ca.key").unlink()
    with pytest.raises(InputError, match="no authority"):
        make_server_certificate(keys)
