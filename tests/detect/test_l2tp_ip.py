"""L2TPv3 over IP: control messages behind four zero bytes."""

import pytest

from middlebox.detect.l2tp_ip import L2tpIp
from middlebox.evidence import Opinion
from tests.detect.conversations import CLIENT, datagrams
from tests.detect.samples_classic_vpn import L2TP_REQUEST, L2TPV3_REQUEST, MARKER


@pytest.mark.parametrize("first", [MARKER + L2TP_REQUEST, MARKER + L2TPV3_REQUEST[:-1], MARKER, b"\0\0\1"])
def test_other_control_messages_are_rejected_at_once(first: bytes) -> None:
    assert list(datagrams(L2tpIp(), [CLIENT(first)])) == [Opinion.NO]


def test_data_alone_is_not_waited_for_for_ever() -> None:
    given = list(datagrams(L2tpIp(), [CLIENT(b"\0\0\1\1" + bytes(60))] * 20))
    assert (given[-1], len(given)) == (Opinion.NO, 8)
