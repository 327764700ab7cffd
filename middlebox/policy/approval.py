"""Whether an approval covers a flow: by cryptographic proof where the approval has a key, else by what is visible.

Everything an approval names must fit. Nothing is approved before its protocol is confirmed, only a message that was
answered proves anything, so that a valid first message cannot open the way for something else, and no message proves
anything for a second flow.

The cryptography is in `openvpn_keys` and `wireguard_keys`; this module decides.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from ipaddress import ip_address
from typing import Protocol

from middlebox.evidence import Confidence, Proof
from middlebox.policy.openvpn_keys import (
    OpenVpnKey,
    Outcome,
    TlsAuthKey,
    TlsCryptKey,
    TlsCryptV2Key,
    examine,
)
from middlebox.policy.rule import Approval, Network
from middlebox.policy.wireguard_keys import is_for, mac1_key

NAME_FACTS = ("tls.sni", "quic.sni")
"Facts with the host name that a TLS client asked for."
CERTIFICATE_FACT = "tls.certificate_sha256"
"Fact with the digest of the server's certificate, in hex."

MAX_ACCEPTED = 65_536
"""Proofs that are remembered, some 16 MB at most: as many new approved tunnels as a gateway with 1,000 users, each of
whom begins one every twenty minutes, sees in a day, after which OpenVPN's are too old anyway."""
_DIGEST_BYTES = 16
_LAST_SECOND = 1.0
"`until` names the last second of validity, which lasts until its end."


class Pending(Protocol):
    """What an approval needs to know of a detector that has not finished."""

    @property
    def facts(self) -> tuple[str, ...]:
        """Facts it may report."""
        ...


class Candidate(Protocol):
    """What an approval looks at. A `Flow` is one."""

    key: bytes
    protocol: str
    confidence: Confidence | None
    client: bytes
    server: bytes
    facts: dict[str, object]
    proofs: list[Proof]

    @property
    def pending(self) -> Sequence[Pending]:
        """Detectors that may still report something."""
        ...


class MissReason(Enum):
    """Why an approval does not cover a flow of its protocol."""

    EXPIRED = "expired"
    NOT_YET = "not_yet"
    ADDRESS = "address"
    NAME = "name"
    CERTIFICATE = "certificate"
    CERTIFICATE_HIDDEN = "certificate_hidden"
    UNCONFIRMED = "unconfirmed"
    NO_HANDSHAKE = "no_handshake"
    OTHER_KEY = "other_key"
    UNANSWERED = "unanswered"
    OTHER_ANSWER = "other_answer"
    OLD = "old"
    REPLAYED = "replayed"


@dataclass(slots=True, frozen=True)
class ApprovalMiss:
    """One approval of the flow's protocol, and why it does not cover the flow."""

    approval: str
    reason: MissReason
    sentence: str
    "For people; begins with the approval's name."


_PROOF_SENTENCES: Mapping[MissReason, str] = {
    MissReason.NO_HANDSHAKE: "asks for the proof of a key, and no handshake was seen that could prove one",
    MissReason.OTHER_KEY: "is for another key than the one this handshake was made with",
    MissReason.UNANSWERED: "fits the client's handshake, but the server's answer to it was not seen",
    MissReason.OTHER_ANSWER: "fits the client's handshake, but the server's answer was not made with the approved key",
    MissReason.OLD: "fits a handshake whose time is over a day from when it was seen: recorded, or a wrong clock",
    MissReason.REPLAYED: "fits a handshake that was seen before in another flow: a recording of it",
}

_FROM_OUTCOME = {
    Outcome.OTHER_KEY: MissReason.OTHER_KEY,
    Outcome.UNANSWERED: MissReason.UNANSWERED,
    Outcome.OTHER_ANSWER: MissReason.OTHER_ANSWER,
    Outcome.OLD: MissReason.OLD,
}
_NEARNESS = (
    MissReason.NO_HANDSHAKE,
    MissReason.OTHER_KEY,
    MissReason.UNANSWERED,
    MissReason.OTHER_ANSWER,
    MissReason.OLD,
    MissReason.REPLAYED,
)
"Of several proofs the one that comes nearest to an approval explains; the last is the nearest."

_Examiner = Callable[[Proof], Outcome]


class Approvals:
    """The approvals of one policy, ready to be checked, and which flow each accepted proof was for."""

    def __init__(self, approvals: Sequence[Approval]) -> None:
        self._by_protocol: dict[str, list[tuple[Approval, _Examiner | None]]] = {}
        for approval in approvals:
            self._by_protocol.setdefault(approval.protocol, []).append((approval, _examiner(approval)))
        self._accepted: dict[bytes, bytes] = {}
        "Digest of an accepted message to the key of the flow that it was accepted for, oldest first."

    @property
    def protocols(self) -> frozenset[str]:
        """Protocols for which an approval exists."""
        return frozenset(self._by_protocol)

    def edges(self) -> tuple[float, ...]:
        """Policy times at which an approval begins or ends, sorted."""
        approvals = [approval for entries in self._by_protocol.values() for approval, _ in entries]
        begins = {approval.begins for approval in approvals if approval.begins is not None}
        ends = {approval.until + _LAST_SECOND for approval in approvals if approval.until is not None}
        return tuple(sorted(begins | ends))

    def take_over(self, previous: "Approvals") -> None:
        """Remember the proofs that the approvals of the policy before this one have accepted."""
        self._accepted = dict(previous._accepted)

    def covering(self, flow: Candidate, at: float) -> str | None:
        """Name of the first approval that covers `flow` at policy time `at`. Its proof is good for this flow only."""
        if flow.confidence is not Confidence.CONFIRMED:
            return None
        for approval, examiner in self._by_protocol.get(flow.protocol, ()):
            if _out_of_place(approval, flow, at) is not None:
                continue
            if examiner is None:
                return approval.name
            for proof in flow.proofs:
                if self._judge(examiner, proof, flow) is None:
                    self._accept(proof, flow)
                    return approval.name
        return None

    def promised(self, flow: Candidate, proof: Proof, at: float) -> str | None:
        """Name of the approval with a key that would cover `flow` if `proof`, not answered yet, were answered."""
        for approval, examiner in self._by_protocol.get(flow.protocol, ()):
            if examiner is None or _out_of_place(approval, flow, at) is not None:
                continue
            if self._judge(examiner, proof, flow) in (None, MissReason.UNANSWERED):
                return approval.name
        return None

    def explain(self, flow: Candidate, at: float) -> list[ApprovalMiss]:
        """Why each approval of the flow's protocol does not cover it at the policy time `at`, in the policy's order."""
        misses = []
        for approval, examiner in self._by_protocol.get(flow.protocol, ()):
            miss = _out_of_place(approval, flow, at) or self._unproven(examiner, flow)
            if miss is not None:
                reason, sentence = miss
                misses.append(ApprovalMiss(approval.name, reason, f"{approval.name} {sentence}"))
        return misses

    def _unproven(self, examiner: _Examiner | None, flow: Candidate) -> tuple[MissReason, str] | None:
        """What is missing of the proof, or of the certainty that this is the protocol at all."""
        if examiner is not None:
            reasons = [self._judge(examiner, proof, flow) for proof in flow.proofs]
            if None not in reasons:
                found = [reason for reason in reasons if reason is not None]
                reason = max(found, key=_NEARNESS.index, default=MissReason.NO_HANDSHAKE)
                return reason, _PROOF_SENTENCES[reason]
        if flow.confidence is not Confidence.CONFIRMED:
            found_level = flow.confidence.word if flow.confidence is not None else "not even possible"
            sentence = f"needs the protocol to be confirmed, and {flow.protocol} is {found_level} so far"
            return MissReason.UNCONFIRMED, sentence
        return None

    def _judge(self, examiner: _Examiner, proof: Proof, flow: Candidate) -> MissReason | None:
        """Why a proof does not approve the flow; None: it does."""
        outcome = examiner(proof)
        if outcome is Outcome.OTHER_KEY:
            return MissReason.OTHER_KEY
        if self._accepted.get(_digest(proof), flow.key) != flow.key:
            return MissReason.REPLAYED
        if outcome is Outcome.PROVEN:
            return None if proof.answered else MissReason.UNANSWERED
        return _FROM_OUTCOME[outcome]

    def _accept(self, proof: Proof, flow: Candidate) -> None:
        self._accepted[_digest(proof)] = flow.key
        if len(self._accepted) > MAX_ACCEPTED:
            del self._accepted[next(iter(self._accepted))]


def _digest(proof: Proof) -> bytes:
    return hashlib.blake2b(proof.message, digest_size=_DIGEST_BYTES).digest()


def _out_of_place(approval: Approval, flow: Candidate, at: float) -> tuple[MissReason, str] | None:
    """What of an approval does not fit, its key aside."""
    if approval.until is not None and at >= approval.until + _LAST_SECOND:
        return MissReason.EXPIRED, f"expired on {_day(approval.until)}"
    if approval.begins is not None and at < approval.begins:
        return MissReason.NOT_YET, f"begins on {_day(approval.begins)}"
    if approval.server and not _has_end_in(flow, approval.server):
        servers = " or ".join(str(network).removesuffix("/32").removesuffix("/128") for network in approval.server[:3])
        more = " or others" if len(approval.server) > 3 else ""
        return MissReason.ADDRESS, f"is for the server {servers}{more}, and this flow goes to {ip_address(flow.server)}"
    if approval.server_name is not None:
        return _wrong_name(approval, flow)
    return None


def _wrong_name(approval: Approval, flow: Candidate) -> tuple[MissReason, str] | None:
    """What of the host name and the certificate does not fit."""
    name = next((flow.facts[fact] for fact in NAME_FACTS if fact in flow.facts), None)
    if not isinstance(name, str) or name.lower().rstrip(".") != approval.server_name:
        asks = f"asks for {name}" if name else "shows no server name"
        return MissReason.NAME, f"is for the server name {approval.server_name}, and this flow {asks}"
    if approval.certificate is None:
        return None
    found = flow.facts.get(CERTIFICATE_FACT)
    if found is None and any(CERTIFICATE_FACT in detector.facts for detector in flow.pending):
        return MissReason.CERTIFICATE_HIDDEN, "asks for a certificate, which the server has not shown yet"
    if found is None and not approval.server:
        sentence = "asks for a certificate, which this flow does not show (TLS 1.3 hides it); add the server's address"
        return MissReason.CERTIFICATE_HIDDEN, sentence
    if found is not None and found != approval.certificate.hex():
        return MissReason.CERTIFICATE, f"is for another certificate than the server's, which has the SHA-256 {found}"
    return None


def _day(moment: float) -> str:
    """A day, with the time where it is neither the begin nor the end of one. UTC."""
    time = datetime.fromtimestamp(moment, UTC)
    whole_day = (time.hour, time.minute, time.second) in ((0, 0, 0), (23, 59, 59))
    return f"{time:%Y-%m-%d}" if whole_day else f"{time:%Y-%m-%d at %H:%M:%S} UTC"


def _has_end_in(flow: Candidate, networks: Sequence[Network]) -> bool:
    """Whether either end lies there: after a silence the approved server may be the first to speak."""
    ends = ip_address(flow.server), ip_address(flow.client)
    return any(end in network for end in ends for network in networks)


def _examiner(approval: Approval) -> _Examiner | None:
    """What checks a proof against the keys of an approval; None: it has none."""
    if approval.public_keys:
        return partial(_examine_wireguard, tuple(map(mac1_key, approval.public_keys)))
    keys: list[OpenVpnKey] = []
    if approval.tls_auth_key is not None:
        keys.append(TlsAuthKey(approval.tls_auth_key))
    if approval.tls_crypt_key is not None:
        keys.append(TlsCryptKey(approval.tls_crypt_key))
    if approval.tls_crypt_v2_key is not None:
        keys.append(TlsCryptV2Key(approval.tls_crypt_v2_key))
    return partial(_examine_openvpn, keys[0]) if keys else None


def _examine_wireguard(mac1_keys: Sequence[bytes], proof: Proof) -> Outcome:
    if proof.protocol != "wireguard" or proof.kind != "initiation":
        return Outcome.OTHER_KEY
    return Outcome.PROVEN if any(is_for(key, proof.message) for key in mac1_keys) else Outcome.OTHER_KEY


def _examine_openvpn(key: OpenVpnKey, proof: Proof) -> Outcome:
    if proof.protocol != "openvpn" or proof.kind != "client-reset":
        return Outcome.OTHER_KEY
    return examine(key, proof.message, proof.answer, proof.seen)
