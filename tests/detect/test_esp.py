"""ESP over IP: rekeying and several associations at once do not hide the advance."""

from middlebox.detect.esp import Esp
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_classic_vpn import esp


def test_associations_that_take_turns_are_told_apart() -> None:
    exchange = (
        CLIENT(esp(1000, 7)), CLIENT(esp(2000, 70)), SERVER(esp(3000, 1)), SERVER(esp(4000, 9)), CLIENT(esp(1000, 8)),
        SERVER(esp(3000, 2)),
    )  # fmt: skip
    assert last_evidence(datagrams(Esp(), exchange[:5])).confidence is Confidence.PROBABLE  # type: ignore[union-attr]
    assert last_evidence(datagrams(Esp(), exchange)).confidence is Confidence.CONFIRMED  # type: ignore[union-attr]
