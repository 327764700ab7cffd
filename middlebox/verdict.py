"""What the engine answers for a packet.

Rules speak of actions (`Action`); the kernel hears verdicts (`Verdict`). `Decision` carries both.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum


class Verdict(IntEnum):
    """What happens to this packet. The numbers are also written into connection marks; keep them below 8."""

    PASS = 1
    "Let it through."
    DROP = 2
    "Discard it without a word."
    RESET = 3
    "Discard it; TCP: a RST to both sides; other protocols: as REJECT."
    REJECT = 4
    "Discard it and tell the sender: TCP RST, otherwise ICMP 'administratively prohibited'."


class Action(Enum):
    """What a rule may ask for."""

    PASS = "pass"
    DROP = "drop"
    RESET = "reset"
    REJECT = "reject"
    LOG = "log"
    "Record the match and go on with the next rule."

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that carries this action out; None for `log`, which decides nothing."""
        return None if self is Action.LOG else Verdict[self.name]


@dataclass(slots=True, frozen=True)
class Decision:
    """The answer to one packet."""

    verdict: Verdict
    settled: bool
    "True when every later packet of the flow gets the same verdict, so the kernel may stop asking."
    rule: str | None = None
    "Name of the rule that decided, None for the policy's default or an undecided flow."


UNDECIDED = Decision(Verdict.PASS, settled=False)
"The answer while the flow is still being looked at."
