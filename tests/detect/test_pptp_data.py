"""The data of PPTP: acknowledgments of what was sent, and lengths."""

import pytest

from middlebox.detect.pptp_data import PptpData
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.samples_classic_vpn import PPP_LCP, gre, ip4, pptp_data


def finding(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(PptpData(), messages))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (pptp_data(2, None, 8), Confidence.CONFIRMED),
        (pptp_data(2, 1, 8, PPP_LCP), Confidence.CONFIRMED),
        (pptp_data(2, 1, 9, PPP_LCP), Confidence.PROBABLE),
        (pptp_data(2, 8, None, PPP_LCP), Confidence.PROBABLE),
    ],
)
def test_only_an_acknowledgment_of_what_was_sent_confirms(answer: bytes, expected: Confidence) -> None:
    sent = [CLIENT(pptp_data(1, number, None, PPP_LCP)) for number in (7, 8)]
    evidence = finding(*sent, SERVER(answer))
    assert evidence
    assert evidence.confidence is expected


def test_a_side_cannot_acknowledge_itself() -> None:
    evidence = finding(CLIENT(pptp_data(1, 7, None, PPP_LCP)), CLIENT(pptp_data(1, 8, 7, PPP_LCP)))
    assert evidence
    assert evidence.confidence is Confidence.PROBABLE


@pytest.mark.parametrize(
    "packet",
    [
        gre(0x0800, ip4()),
        gre(0x880B, PPP_LCP),
        pptp_data(1, 1, None, PPP_LCP)[:-1],
        pptp_data(1, 1, None)[:10],
        b"\x30",
    ],
)
def test_other_packets_are_rejected_at_once(packet: bytes) -> None:
    assert list(datagrams(PptpData(), [CLIENT(packet)])) == [Opinion.NO]
