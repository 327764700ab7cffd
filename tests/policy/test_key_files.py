"""Key files of approvals: the right ones load, wrong ones say where and what, and none of them shows its content."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.policy.key_files import KINDS, read_key
from middlebox.policy.load import PolicyError, load_policy
from middlebox.policy.problem import Problem
from middlebox.policy.rule import Policy

KEYS = Path(__file__).parent / "keys"
STATIC = (KEYS / "tls-auth.key").read_text()
SERVER = (KEYS / "tls-crypt-v2-server.key").read_text()
CLIENT = (KEYS / "tls-crypt-v2-client.key").read_text()
BODY = STATIC.split("V1-----\n")[1].split("\n-----END")[0]
STATIC_WORDS = "expected -----BEGIN OpenVPN Static key V1----- (openvpn --genkey secret FILE)"
SERVER_WORDS = "expected -----BEGIN OpenVPN tls-crypt-v2 server key----- (openvpn --genkey tls-crypt-v2-server FILE)"
WIREGUARD = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="


def load(folder: Path, approval: str, files: dict[str, str], mode: int = 0o600) -> Policy:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
    policy = folder / "p.yaml"
    policy.write_text(f"policy: p\napproved:\n  - {{name: a, {approval}}}\n")
    return load_policy(policy)


def messages(folder: Path, approval: str, files: dict[str, str], mode: int = 0o600) -> list[str]:
    with pytest.raises(PolicyError) as error:
        load(folder, approval, files, mode)
    return [str(problem).removeprefix(f"{folder}/") for problem in error.value.problems]


@pytest.mark.parametrize(
    ("key_field", "content", "size"),
    [("tls_auth_key", STATIC, 256), ("tls_crypt_key", STATIC, 256), ("tls_crypt_v2_key", SERVER, 128)],
)
def test_key_files_load(tmp_path: Path, key_field: str, content: str, size: int) -> None:
    approval = f"protocol: openvpn, {key_field}: keys/a.key"
    policy = load(tmp_path, approval, {"keys/a.key": content})
    key = getattr(policy.approvals[0], key_field)
    assert len(key) == size
    changed = "0" if content[-60] != "0" else "1"
    other = load(tmp_path, approval, {"keys/a.key": content[:-60] + changed + content[-59:]})
    assert other.digest != policy.digest, "a new key is a new policy"
    assert load(tmp_path, approval, {"keys/a.key": content.replace("\n", "\r\n")}).digest == policy.digest


@pytest.mark.parametrize(
    ("key_field", "content", "message"),
    [
        ("tls_auth_key", "", f"1:1: error: found an empty file, {STATIC_WORDS}"),
        ("tls_auth_key", "hello\n", f"1:1: error: found no key, {STATIC_WORDS}"),
        (
            "tls_crypt_key",
            WIREGUARD + "\n",
            "1:1: error: found a WireGuard key, perhaps the private one (then delete this copy), " + STATIC_WORDS,
        ),
        (
            "tls_crypt_key",
            SERVER,
            f'1:1: error: found the tls-crypt-v2 server key, {STATIC_WORDS}; "tls_crypt_v2_key" takes it',
        ),
        ("tls_crypt_v2_key", CLIENT, f"1:1: error: found the tls-crypt-v2 key of one client, {SERVER_WORDS}"),
        (
            "tls_crypt_v2_key",
            STATIC,
            f'4:1: error: found an OpenVPN static key, {SERVER_WORDS}; "tls_auth_key" and "tls_crypt_key" take it',
        ),
        ("tls_auth_key", "-----BEGIN EC PRIVATE KEY-----\n", f"1:1: error: found a private key, {STATIC_WORDS}"),
        ("tls_auth_key", "-----BEGIN CERTIFICATE-----\n", f"1:1: error: found a certificate, {STATIC_WORDS}"),
        (
            "tls_auth_key",
            STATIC.replace(BODY, BODY[:-33]),
            "5:1: error: found a key of 240 bytes, expected 256: openvpn --genkey secret FILE",
        ),
        (
            "tls_auth_key",
            STATIC.replace(BODY, BODY[:-1]),
            "5:1: error: found 511 characters that are not whole hexadecimal",
        ),
        (
            "tls_auth_key",
            STATIC.replace(BODY, BODY[:35] + "x" + BODY[36:]),
            "6:3: error: found a character that is not hexadecimal, expected a key in hexadecimal",
        ),
        (
            "tls_auth_key",
            STATIC.split("-----END")[0],
            "20:1: error: found the end of the file, expected -----END OpenVPN Static key V1-----",
        ),
        ("tls_auth_key", STATIC + STATIC, "25:1: error: found a second key, expected one; the first is in line 4"),
    ],
)
def test_wrong_key_files(tmp_path: Path, key_field: str, content: str, message: str) -> None:
    found = messages(tmp_path, f"protocol: openvpn, {key_field}: keys/a.key", {"keys/a.key": content})
    assert found == [f"keys/a.key:{message}"]


def test_a_missing_key_file(tmp_path: Path) -> None:
    assert messages(tmp_path, "protocol: openvpn, tls_auth_key: keys/a.key", {}) == [
        "p.yaml:3:48: error: cannot read keys/a.key: No such file or directory"
    ]


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
def test_a_key_file_that_others_may_use(tmp_path: Path, mode: int) -> None:
    approval = "protocol: openvpn, tls_auth_key: keys/a.key"
    assert messages(tmp_path, approval, {"keys/a.key": STATIC}, mode) == [
        f"p.yaml:3:48: error: other users may read or change keys/a.key; run: chmod 600 {tmp_path}/keys/a.key"
    ]
    assert load(tmp_path, approval, {"keys/a.key": STATIC}, 0o640)


@pytest.mark.parametrize(
    ("approval", "message"),
    [
        (
            "protocol: ipsec, tls_auth_key: a.key",
            '3:32: error: "tls_auth_key" is for openvpn, and this approval is for "ipsec"; write "server"',
        ),
        (
            "protocol: openvpn, tls_auth_key: a.key, tls_crypt_key: a.key",
            '3:55: error: this approval has "tls_auth_key" already, and a tunnel uses one of them; write two approvals',
        ),
        (
            "protocol: sstp, server_name: vpn.example.org",
            '3:31: error: anybody can ask for a server name; add "certificate", "server" or both',
        ),
        (
            "protocol: wireguard, server_name: vpn.example.org, server: 203.0.113.1",
            '3:36: error: "server_name" is for VPNs inside TLS, and this approval is for "wireguard"; write "server"',
        ),
        (
            f"protocol: sstp, server: 203.0.113.1, certificate: {'ab' * 32}",
            '3:52: error: "certificate" goes together with "server_name"; add it',
        ),
        (
            "protocol: sstp, server_name: vpn.example.org, certificate: abcd",
            "3:74: error: certificate: found 4 digits, expected 64 hexadecimal digits, as openssl x509 -noout "
            "-fingerprint -sha256 prints them",
        ),
    ],
)
def test_approvals_that_say_too_little_or_too_much(tmp_path: Path, approval: str, message: str) -> None:
    assert messages(tmp_path, approval, {"a.key": STATIC}) == [f"p.yaml:{message}"]


@pytest.mark.parametrize("written", ["ab" * 32, "AB" * 32, ":".join(["ab"] * 32), ":".join(["AB"] * 32)])
def test_certificates_with_and_without_colons(tmp_path: Path, written: str) -> None:
    policy = load(tmp_path, f'protocol: sstp, server_name: VPN.example.org, certificate: "{written}"', {})
    assert policy.approvals[0].certificate == b"\xab" * 32
    assert policy.approvals[0].server_name == "vpn.example.org"


PIECES = [STATIC, SERVER, CLIENT, BODY, "-----BEGIN OpenVPN Static key V1-----\n", WIREGUARD, "PrivateKey = ", "\n"]


@given(pieces=st.lists(st.sampled_from(PIECES) | st.text(max_size=20)), key_field=st.sampled_from(sorted(KINDS)))
def test_any_file_gives_a_key_or_one_problem_without_its_content(pieces: list[str], key_field: str) -> None:
    found = read_key("".join(pieces).encode(errors="replace"), "f", key_field)
    if isinstance(found, Problem):
        assert not any(line[:12] in found.message for line in (*BODY.splitlines(), WIREGUARD))
    else:
        assert len(found) == KINDS[key_field].size
