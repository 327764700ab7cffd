"""OpenVPN approvals: handshakes of real programs with known keys, every other combination made here, and forgeries.

The packets made here follow OpenVPN's documentation, not our code. The keys in `keys/` belong to the captures and were
never used for anything else.
"""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import Detector
from middlebox.engine import Engine
from middlebox.evidence import Confidence, Proof
from middlebox.policy.approval import Approvals, MissReason
from middlebox.policy.key_files import read_key
from middlebox.policy.rule import Approval, Policy
from middlebox.shells.capture import Capture

CAPTURES = Path(__file__).parents[1] / "captures"
KEYS = Path(__file__).parent / "keys"
NOW = 1_800_000_000.0
SID, SERVER_SID = b"clientid", b"serverid"


def key_of(name: str, key_field: str) -> bytes:
    key = read_key((KEYS / name).read_bytes(), name, key_field)
    assert isinstance(key, bytes)
    return key


TLS_AUTH = Approval("auth", "openvpn", tls_auth_key=key_of("tls-auth.key", "tls_auth_key"))
TLS_CRYPT = Approval("crypt", "openvpn", tls_crypt_key=key_of("tls-crypt.key", "tls_crypt_key"))
TLS_CRYPT_V2 = Approval("v2", "openvpn", tls_crypt_v2_key=key_of("tls-crypt-v2-server.key", "tls_crypt_v2_key"))
ALL = (TLS_AUTH, TLS_CRYPT, TLS_CRYPT_V2)


@dataclass
class Tunnel:
    """A confirmed OpenVPN flow."""

    proofs: list[Proof] = field(default_factory=list)
    key: bytes = b"flow"
    protocol: str = "openvpn"
    confidence: Confidence | None = Confidence.CONFIRMED
    client: bytes = b"\xc0\x00\x02\x02"
    server: bytes = b"\xc6\x33\x64\x02"
    facts: dict[str, object] = field(default_factory=dict)
    pending: tuple[type[Detector], ...] = ()


# --- handshakes of real programs ----------------------------------------------------------------


def replayed(capture: str, *approvals: Approval) -> str | None:
    engine = Engine(Policy("p", approvals=approvals))
    for now, raw in Capture(str(CAPTURES / f"{capture}.pcap")):
        engine.handle(raw, now)
    engine.finish(now)
    flows = [event for event in engine.take_events() if event["event_type"] == "flow"]
    assert len(flows) == 1
    about = flows[0]["middlebox"]
    assert isinstance(about, dict)
    assert (about["protocol"], about["confidence"]) == ("openvpn", "confirmed")
    name = about["approved"]
    assert name is None or isinstance(name, str)
    return name


RECORDED = [
    ("openvpn-key-tlsauth-sha256", TLS_AUTH),
    ("openvpn-key-tlsauth-sha512-nodir", TLS_AUTH),
    ("openvpn-key-tlsauth-sha1-reversed", TLS_AUTH),
    ("openvpn-key-tlscrypt", TLS_CRYPT),
    ("openvpn-key-tlscryptv2", TLS_CRYPT_V2),
]


@pytest.mark.parametrize(("capture", "approval"), RECORDED)
def test_real_programs_are_approved_by_their_key_and_by_no_other(capture: str, approval: Approval) -> None:
    assert replayed(capture, *ALL) == approval.name
    assert replayed(capture, *(other for other in ALL if other is not approval)) is None


@pytest.mark.parametrize("capture", ["openvpn-tlsauth", "openvpn-tlscrypt-tcp", "openvpn-udp"])
def test_tunnels_with_other_keys_and_without_any_are_not_approved(capture: str) -> None:
    engine = Engine(Policy("p", approvals=ALL))
    for now, raw in Capture(str(CAPTURES / f"{capture}.pcap")):
        engine.handle(raw, now)
    engine.finish(now)
    abouts = [event["middlebox"] for event in engine.take_events() if event["event_type"] == "flow"]
    assert all(isinstance(about, dict) and about["approved"] is None for about in abouts)


# --- handshakes made here -----------------------------------------------------------------------


def reset(opcode: int, sid: bytes, echoes: bytes | None) -> tuple[bytes, bytes]:
    """What is in clear in every wrap, and the rest of a reset."""
    acks = b"\0" if echoes is None else b"\x01\0\0\0\0" + echoes
    return bytes((opcode << 3,)) + sid, acks + b"\0\0\0\0"


def replay(time: float) -> bytes:
    return b"\0\0\0\x01" + int(time).to_bytes(4)


def auth(key: bytes, digest: str, header: bytes, rest: bytes, time: float) -> bytes:
    size = {"sha1": 20, "sha256": 32, "sha512": 64}[digest]
    tag = hmac.digest(key[64 : 64 + size], replay(time) + header + rest, digest)
    return header + tag + replay(time) + rest


def crypt(key: bytes, header: bytes, rest: bytes, time: float) -> bytes:
    tag = hmac.digest(key[64:96], header + replay(time) + rest, "sha256")
    return header + replay(time) + tag + ctr(key, tag, rest)


def ctr(key: bytes, tag: bytes, clear: bytes) -> bytes:
    return Cipher(algorithms.AES(key[:32]), modes.CTR(tag[:16])).encryptor().update(clear)


def wrapped(server_key: bytes, client_key: bytes, metadata: bytes = b"") -> bytes:
    length = (32 + len(client_key) + len(metadata) + 2).to_bytes(2)
    tag = hmac.digest(server_key[64:96], length + client_key + metadata, "sha256")
    return tag + ctr(server_key, tag, client_key + metadata) + length


Make = Callable[..., Proof]


def make_auth(direction: str = "usual", digest: str = "sha1") -> Make:
    indices = {"usual": (1, 0), "reversed": (0, 1), "none": (0, 0)}[direction]

    def make(
        client_key: bytes, server_key: bytes | None = None, *, echo: bytes = SID, time: float = NOW, opcode: int = 8
    ) -> Proof:
        keys = [
            k[128 * i : 128 * i + 128] for k, i in zip((client_key, server_key or client_key), indices, strict=True)
        ]
        message = auth(keys[0], digest, *reset(7, SID, None), time)
        answer = auth(keys[1], digest, *reset(opcode, SERVER_SID, echo), time)
        return Proof("openvpn", "client-reset", message, True, answer, NOW)

    return make


def make_crypt(
    client_key: bytes, server_key: bytes | None = None, *, echo: bytes = SID, time: float = NOW, opcode: int = 8
) -> Proof:
    message = crypt(client_key[128:], *reset(7, SID, None), time)
    answer = crypt((server_key or client_key)[:128], *reset(opcode, SERVER_SID, echo), time)
    return Proof("openvpn", "client-reset", message, True, answer, NOW)


CLIENT_KEY, OTHER_CLIENT_KEY = bytes(range(256)), bytes(reversed(range(256)))


def make_v2(
    wrapping_key: bytes, server_key: bytes | None = None, *, echo: bytes = SID, time: float = NOW, opcode: int = 8
) -> Proof:
    message = crypt(CLIENT_KEY[128:], *reset(10, SID, None), time) + wrapped(wrapping_key, CLIENT_KEY, b"\x01metadata")
    answering = CLIENT_KEY if server_key in (None, wrapping_key) else OTHER_CLIENT_KEY
    answer = crypt(answering[:128], *reset(opcode, SERVER_SID, echo), time)
    return Proof("openvpn", "client-reset", message, True, answer, NOW)


def key_in(approval: Approval) -> bytes:
    key = approval.tls_auth_key or approval.tls_crypt_key or approval.tls_crypt_v2_key
    assert key
    return key


WAYS = [
    *(
        pytest.param(TLS_AUTH, make_auth(direction, digest), id=f"tls-auth-{direction}-{digest}")
        for direction in ("usual", "reversed", "none")
        for digest in ("sha1", "sha256", "sha512")
    ),
    pytest.param(TLS_CRYPT, make_crypt, id="tls-crypt"),
    pytest.param(TLS_CRYPT_V2, make_v2, id="tls-crypt-v2"),
]
every_way = pytest.mark.parametrize(("approval", "make"), WAYS)


def reason_for(approval: Approval, proof: Proof) -> MissReason | None:
    """Why the approval does not cover a tunnel with that proof; both ways to ask must agree."""
    approvals, tunnel = Approvals([approval]), Tunnel([proof])
    misses = approvals.explain(tunnel, NOW)
    assert (approvals.covering(tunnel, NOW) is None) == bool(misses)
    return misses[0].reason if misses else None


@every_way
def test_the_approved_key_covers(approval: Approval, make: Make) -> None:
    assert reason_for(approval, make(key_in(approval))) is None


@every_way
def test_another_key_does_not(approval: Approval, make: Make) -> None:
    assert reason_for(approval, make(os.urandom(len(key_in(approval))))) is MissReason.OTHER_KEY


@every_way
def test_a_server_without_the_key_does_not(approval: Approval, make: Make) -> None:
    key = key_in(approval)
    assert reason_for(approval, make(key, os.urandom(len(key)))) is MissReason.OTHER_ANSWER


@every_way
def test_an_answer_to_another_client_does_not(approval: Approval, make: Make) -> None:
    assert reason_for(approval, make(key_in(approval), echo=b"someelse")) is MissReason.OTHER_ANSWER


@every_way
def test_another_packet_of_the_server_is_no_answer(approval: Approval, make: Make) -> None:
    assert reason_for(approval, make(key_in(approval), opcode=4)) is MissReason.OTHER_ANSWER


@every_way
def test_the_clients_own_reset_is_no_answer(approval: Approval, make: Make) -> None:
    proof = make(key_in(approval))
    assert reason_for(approval, replace(proof, answer=proof.message)) is MissReason.OTHER_ANSWER


@every_way
def test_without_an_answer_it_is_only_promised(approval: Approval, make: Make) -> None:
    proof = replace(make(key_in(approval)), answer=None, answered=False)
    assert reason_for(approval, proof) is MissReason.UNANSWERED
    assert Approvals([approval]).promised(Tunnel(), proof, NOW) == approval.name
    forged = replace(make(os.urandom(len(key_in(approval)))), answer=None, answered=False)
    assert Approvals([approval]).promised(Tunnel(), forged, NOW) is None


@every_way
@pytest.mark.parametrize(("days", "covers"), [(-2, False), (-0.9, True), (0.9, True), (2, False)])
def test_the_time_in_the_reset_must_be_near(approval: Approval, make: Make, days: float, covers: bool) -> None:
    reason = reason_for(approval, make(key_in(approval), time=NOW + days * 86_400))
    assert reason is (None if covers else MissReason.OLD)


@every_way
def test_an_old_reset_is_not_even_promised(approval: Approval, make: Make) -> None:
    proof = replace(make(key_in(approval), time=NOW - 2 * 86_400), answer=None, answered=False)
    assert reason_for(approval, proof) is MissReason.OLD
    assert Approvals([approval]).promised(Tunnel(), proof, NOW) is None


@every_way
def test_a_recording_in_another_flow_does_not(approval: Approval, make: Make) -> None:
    approvals, proof = Approvals([approval]), make(key_in(approval))
    assert approvals.covering(Tunnel([proof]), NOW) == approval.name
    assert approvals.covering(Tunnel([proof]), NOW) == approval.name, "the flow itself, judged again"
    other = Tunnel([proof], key=b"other")
    assert approvals.covering(other, NOW) is None
    assert approvals.promised(other, proof, NOW) is None
    assert [miss.reason for miss in approvals.explain(other, NOW)] == [MissReason.REPLAYED]
    renewed = Approvals([approval])
    renewed.take_over(approvals)
    assert renewed.covering(other, NOW) is None


@every_way
@given(data=st.data())
def test_no_changed_byte_covers(approval: Approval, make: Make, data: st.DataObject) -> None:
    proof = make(key_in(approval))
    assert proof.answer
    in_answer = data.draw(st.booleans())
    message = bytearray(proof.answer if in_answer else proof.message)
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    changed = replace(proof, answer=bytes(message)) if in_answer else replace(proof, message=bytes(message))
    assert reason_for(approval, changed) is not None


@every_way
@given(message=st.binary(max_size=700), answer=st.none() | st.binary(max_size=300))
def test_any_bytes_are_judged_and_none_cover(
    approval: Approval, make: Make, message: bytes, answer: bytes | None
) -> None:
    assert reason_for(approval, Proof("openvpn", "client-reset", message, True, answer, NOW)) is MissReason.OTHER_KEY
    genuine = replace(make(key_in(approval)), answer=answer)
    assert reason_for(approval, genuine) in (MissReason.UNANSWERED, MissReason.OTHER_ANSWER)


@every_way
@given(cut=st.integers(0, 500))
def test_a_packet_cut_short_is_not_covered(approval: Approval, make: Make, cut: int) -> None:
    proof = make(key_in(approval))
    if cut < len(proof.message):
        assert reason_for(approval, replace(proof, message=proof.message[:cut])) is MissReason.OTHER_KEY


def test_key_and_address_must_both_fit() -> None:
    elsewhere = replace(TLS_CRYPT, server=(ip_network("203.0.113.9/32"),))
    proof = make_crypt(key_in(TLS_CRYPT))
    [miss] = Approvals([elsewhere]).explain(Tunnel([proof]), NOW)
    assert miss.reason is MissReason.ADDRESS
    assert miss.sentence == "crypt is for the server 203.0.113.9, and this flow goes to 198.51.100.2"


def test_keys_never_show() -> None:
    for approval in ALL:
        assert key_in(approval).hex()[:8] not in repr(approval)
        assert repr(key_in(approval))[2:20] not in repr(approval)
