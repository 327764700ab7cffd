"""Whether an approval covers a flow: by cryptographic proof where the approval has a key, else by address.

An approval with a key and an address needs both. Nothing is approved before its protocol is confirmed, and only a
message that was answered proves anything, so a valid first message cannot open the way for something else.
"""

import hashlib
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Protocol

from middlebox.evidence import Confidence, Proof
from middlebox.policy.rule import Approval, Network

_LABEL_MAC1 = b"mac1----"
_MAC1_OFFSET = 116
_MAC_LENGTH = 16
"WireGuard whitepaper section 5.4.4: mac1 covers all of the message before it and is 16 bytes long."


class Candidate(Protocol):
    """What an approval looks at. A `Flow` is one."""

    protocol: str
    confidence: Confidence | None
    client: bytes
    server: bytes
    proofs: list[Proof]


class Approvals:
    """The approvals of one policy, ready to be checked."""

    def __init__(self, approvals: Sequence[Approval]) -> None:
        self._by_protocol: dict[str, list[tuple[Approval, tuple[bytes, ...]]]] = {}
        for approval in approvals:
            keys = tuple(map(_mac1_key, approval.public_keys))
            self._by_protocol.setdefault(approval.protocol, []).append((approval, keys))

    @property
    def protocols(self) -> frozenset[str]:
        """Protocols for which an approval exists."""
        return frozenset(self._by_protocol)

    def covering(self, flow: Candidate, now: float) -> str | None:
        """Name of the first approval that covers `flow` at time `now`."""
        if flow.confidence is not Confidence.CONFIRMED:
            return None
        answered = [proof for proof in flow.proofs if proof.answered]
        return self._find(flow, answered, now)

    def promised(self, flow: Candidate, proof: Proof, now: float) -> str | None:
        """Name of the approval with a key that would cover `flow` if `proof`, not answered yet, were answered."""
        return self._find(flow, [proof], now, by_key_only=True)

    def _find(self, flow: Candidate, proofs: list[Proof], now: float, *, by_key_only: bool = False) -> str | None:
        for approval, mac1_keys in self._by_protocol.get(flow.protocol, ()):
            if approval.until is not None and now > approval.until:
                continue
            if approval.begins is not None and now < approval.begins:
                continue
            if approval.server and not _has_end_in(flow, approval.server):
                continue
            if not mac1_keys and by_key_only:
                continue
            if mac1_keys and not any(_is_for(key, proof) for key in mac1_keys for proof in proofs):
                continue
            return approval.name
        return None


def _has_end_in(flow: Candidate, networks: Sequence[Network]) -> bool:
    """Whether either end lies there: after a silence the approved server may be the first to speak."""
    ends = ip_address(flow.server), ip_address(flow.client)
    return any(end in network for end in ends for network in networks)


def _mac1_key(public_key: bytes) -> bytes:
    """The key of mac1 for messages to the holder of `public_key` (whitepaper section 5.4.4)."""
    return hashlib.blake2s(_LABEL_MAC1 + public_key).digest()


def _is_for(mac1_key: bytes, proof: Proof) -> bool:
    """Whether a handshake initiation was made for the holder of that key: mac1 tells, without any secret."""
    if proof.protocol != "wireguard" or proof.kind != "initiation":
        return False
    mac1 = hashlib.blake2s(proof.message[:_MAC1_OFFSET], key=mac1_key, digest_size=_MAC_LENGTH).digest()
    return mac1 == proof.message[_MAC1_OFFSET : _MAC1_OFFSET + _MAC_LENGTH]
