"""LDAP: the message ID links, SNMP looks alike."""

import pytest

from middlebox.detect.base import UDP
from middlebox.detect.ldap import Ldap
from tests.detect.conversations import CLIENT, SERVER, Message
from tests.detect.exchanges import outcome
from tests.detect.samples_ordinary_tcp import BIND, SUCCESS, ldap, tlv


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([CLIENT(ldap(1, 0x60, *BIND)), SERVER(ldap(2, 0x61, *SUCCESS))], "probable", id="another ID"),
        pytest.param(
            [CLIENT(ldap(1, 0x60, *BIND)), SERVER(ldap(1, 0x65, *SUCCESS))],
            "probable",
            id="the answer to another operation",
        ),
        pytest.param(
            [CLIENT(ldap(1, 0x60, *BIND)), SERVER(ldap(1, 0x78, *SUCCESS))],
            "probable",
            id="extended, but a bind was asked for",
        ),
        pytest.param(
            [CLIENT(ldap(1, 0x77, b"\x80\x161.3.6.1.4.1.1466.20037")), SERVER(ldap(1, 0x78, *SUCCESS))],
            "confirmed",
            id="StartTLS",
        ),
        pytest.param([CLIENT(tlv(0x30, b"\x02\x01\x01", b"\x04\x06public", tlv(0xA0)))], "no", id="SNMP"),
        pytest.param([CLIENT(b"\x30\x80\x02\x01\x01\x60")], "no", id="an indefinite length"),
        pytest.param([CLIENT(b"\x30\x05\x02\x01\x01\x60\x20\x02")], "no", id="an operation longer than its message"),
        pytest.param([CLIENT(ldap(1, 0x60, *BIND)[:4])], "more", id="cut short"),
        pytest.param([CLIENT(ldap(3, 0x42))], "more", id="unbind has nothing in it"),
    ],
)
def test_awkward_exchanges(messages: list[Message], expected: str) -> None:
    assert outcome(Ldap, messages) == expected


def test_over_udp_the_reply_may_be_the_first_packet() -> None:
    reply, request = SERVER(ldap(9, 0x64, b"\x04\x00")), CLIENT(ldap(9, 0x63, b"\x04\x00"))
    assert outcome(Ldap, [reply, request], transport=UDP) == "confirmed"


def test_joined_by_the_servers_packet_the_roles_are_exchanged() -> None:
    messages = [CLIENT(ldap(1, 0x61, *SUCCESS)), SERVER(ldap(1, 0x60, *BIND))]
    assert outcome(Ldap, messages, midstream=True) == "confirmed"
    assert outcome(Ldap, messages) == "no"
