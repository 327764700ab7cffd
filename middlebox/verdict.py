"""What the engine answers for a packet.

Rules speak of actions (`Action`); the kernel hears verdicts (`Verdict`). `Decision` carries both.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Verdict(IntEnum):
    """What happens to this packet. The first four are also written into connection marks by these numbers."""

    PASS = 1
    "Let it through."
    DROP = 2
    "Discard it without a word."
    RESET = 3
    "Discard it; TCP: a RST to both sides; other protocols: as REJECT."
    REJECT = 4
    "Discard it and tell the sender: TCP RST, otherwise ICMP 'administratively prohibited'."
    THROTTLE = 5
    "Let it through as long as its flow and direction keep below a rate; the kernel discards what is above."
    DNS = 6
    "Discard it and send the answer that the decision brings in the name of the server that was asked."


class Action(Enum):
    """What a rule may ask for."""

    PASS = "pass"
    DROP = "drop"
    RESET = "reset"
    REJECT = "reject"
    THROTTLE = "throttle"
    "Police the flow in the kernel at the rule's `rate`, each direction for itself."
    SAMPLE = "sample"
    "Refuse some flows, chosen by the rule's `probability`, as its `then` says; on the others the rule does not act."
    DNS = "dns"
    "Answer the query in the server's stead, as the rule's `dns` says."
    LOG = "log"
    "Record the match and go on with the next rule."

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that carries this action out; None for `log`, which decides nothing, and `sample`, see `then`."""
        return None if self in (Action.LOG, Action.SAMPLE) else Verdict[self.name]


@dataclass(slots=True, frozen=True)
class Decision:
    """The answer to one packet."""

    verdict: Verdict
    settled: bool
    "True when every later packet of the flow gets the same verdict, so the kernel may stop asking."
    rule: str | None = None
    "Name of the rule that decided, None for the policy's default or an undecided flow."
    rate: int | None = None
    "THROTTLE: bits of IP packets a second, each direction."
    answer: bytes | None = None
    "DNS: the whole IP packet to send to the client."


UNDECIDED = Decision(Verdict.PASS, settled=False)
"The answer while the flow is still being looked at."
