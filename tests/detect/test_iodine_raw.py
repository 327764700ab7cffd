"""iodine's raw mode: both sides, one user."""

import pytest

from middlebox.detect.iodine_raw import IodineRaw
from middlebox.evidence import Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence

DATA, PING = b"\x10\xd1\x9e\x21" + bytes(30), b"\x10\xd1\x9e\x31"


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(IodineRaw(), messages))


def test_either_side_may_begin() -> None:
    assert udp(CLIENT(DATA), SERVER(PING))
    assert udp(SERVER(PING), CLIENT(DATA), CLIENT(DATA))


def test_another_user_or_one_side_is_nothing() -> None:
    assert udp(CLIENT(DATA), SERVER(PING[:3] + b"\x32")) is None
    assert udp(*[CLIENT(DATA)] * 20) is None


@pytest.mark.parametrize("data", [PING[:3], b"\x10\xd1\x9f\x31", b"\x10\xd1\x9e\x41", b"\x10"])
def test_other_datagrams_are_rejected_at_once(data: bytes) -> None:
    assert list(datagrams(IodineRaw(), [CLIENT(data)])) == [Opinion.NO]
