"""ICMP, IGMP, routing and control protocols: near misses."""

import pytest

from middlebox.detect.bacnet import Bacnet
from middlebox.detect.base import TCP, Detector
from middlebox.detect.bgp import Bgp
from middlebox.detect.dnp3 import Dnp3
from middlebox.detect.eigrp import Eigrp
from middlebox.detect.enip import Enip
from middlebox.detect.icmp import Icmp
from middlebox.detect.iec104 import Iec104
from middlebox.detect.igmp import Igmp
from middlebox.detect.modbus import Modbus
from middlebox.detect.opc_ua import OpcUa
from middlebox.detect.ospf import Ospf
from middlebox.detect.pim import Pim
from middlebox.detect.s7comm import S7comm
from middlebox.detect.sctp import Sctp
from middlebox.detect.vrrp import Vrrp
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_overlays import (
    BACNET_I_AM,
    BACNET_WHO,
    BGP_OPEN,
    CONNECT,
    CONNECTED,
    EIGRP_HELLO,
    IEC_START,
    IEC_STARTED,
    IGMP_REPORT,
    INNER6,
    OPC_HELLO,
    OSPF_HELLO,
    PIM_HELLO,
    SCTP_INIT,
    UNREACHABLE,
    VRRP_ADVERTISEMENT,
    dnp3,
    enip,
    modbus,
    s7,
    summed,
    tpkt,
)  # fmt: skip

POSSIBLE, PROBABLE, CONFIRMED = Confidence


def level(kind: type[Detector], *messages: Message) -> Confidence | None:
    feed = stream if TCP in kind.transports else datagrams
    evidence = last_evidence(feed(kind(), messages))
    return evidence.confidence if evidence else None


@pytest.mark.parametrize(
    ("kind", "why", "data"),
    [
        (Icmp, "an unknown type", b"\xfd\x00\x00\x00" + bytes(8)),
        (Icmp, "too short", b"\x08\x00\x00"),
        (Igmp, "an unknown type", b"\x99\x00\x00\x00" + bytes(4)),
        (Igmp, "too short", IGMP_REPORT[:7]),
        (Ospf, "version 4", b"\x04" + OSPF_HELLO[1:]),
        (Ospf, "an unknown type", b"\x02\x09" + OSPF_HELLO[2:]),
        (Pim, "version 1", b"\x10" + PIM_HELLO[1:]),
        (Vrrp, "another type", b"\x32" + VRRP_ADVERTISEMENT[1:]),
        (Eigrp, "an unknown operation", b"\x02\x63" + EIGRP_HELLO[2:]),
        (Sctp, "an unknown chunk", SCTP_INIT[:12] + b"\x63" + SCTP_INIT[13:]),
        (Sctp, "a chunk without length", SCTP_INIT[:14] + b"\x00\x00" + SCTP_INIT[16:]),
        (Sctp, "no chunks", SCTP_INIT[:12]),
        (Bacnet, "another length", BACNET_WHO + b"\x00"),
        (Bacnet, "another network version", BACNET_WHO[:4] + b"\x02" + BACNET_WHO[5:]),
        (Bacnet, "an unknown function", b"\x81\x77" + BACNET_WHO[2:]),
        (Bgp, "a hole in the marker", BGP_OPEN[:9] + b"\x00" + BGP_OPEN[10:]),
        (Bgp, "a keepalive with content", b"\xff" * 16 + b"\x00\x14\x04\x00"),
        (Bgp, "an unknown type", b"\xff" * 16 + b"\x00\x20\x09\x00"),
        (Dnp3, "a wrong checksum", dnp3(1, 2, 0xC0)[:-1] + b"\x00"),
        (Dnp3, "a length below its own header", dnp3(1, 2, 0xC0, length=4)),
        (Iec104, "an unknown unnumbered frame", b"\x68\x04\x0f\x00\x00\x00"),
        (Iec104, "a start with content", b"\x68\x04\x07\x00\x01\x00"),
        (Iec104, "data too short", b"\x68\x05\x00\x00\x00\x00\x01"),
        (Modbus, "another protocol", modbus(1, 3)[:3] + b"\x01" + modbus(1, 3)[4:]),
        (Modbus, "an unknown function", modbus(1, 99)),
        (Enip, "options", enip(0x65, b"context!")[:20] + b"\x01\x00\x00\x00"),
        (Enip, "an unknown command", enip(0x99, b"context!")),
        (Enip, "an unknown status", enip(0x65, b"context!", status=0x4242)),
        (OpcUa, "a size below the header", OPC_HELLO[:4] + b"\x07\x00\x00\x00"),
        (OpcUa, "an unknown chunk", b"HELX" + OPC_HELLO[4:]),
        (S7comm, "RDP", CONNECT + tpkt(b"\x02\xf0\x80\x7f\x65" + noise(30))),
    ],
)  # fmt: skip
def test_near_misses_are_not_recognised(kind: type[Detector], why: str, data: bytes) -> None:
    for side in (CLIENT, SERVER):
        assert level(kind, side(data)) is None, why


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Icmp, UNREACHABLE[:2] + b"\x00\x00" + UNREACHABLE[4:]),
        (Igmp, IGMP_REPORT[:-1] + b"\x00"),
        (Ospf, OSPF_HELLO[:-1]),
        (Pim, PIM_HELLO[:-1] + b"\xff"),
        (Vrrp, VRRP_ADVERTISEMENT + b"\x00"),
        (Eigrp, EIGRP_HELLO[:-1]),
        (Sctp, SCTP_INIT[:-4]),
    ],
)
def test_damaged_messages_are_only_probable(kind: type[Detector], data: bytes) -> None:
    assert level(kind, CLIENT(data)) is PROBABLE


@pytest.mark.parametrize(
    ("kind", "request_", "reply"),
    [
        (Modbus, modbus(1, 3), modbus(2, 3)),
        (Modbus, modbus(1, 3), modbus(1, 4)),
        (Modbus, modbus(1, 0x83), modbus(1, 3)),
        (Dnp3, dnp3(1, 2, 0xC0), dnp3(1, 2, 0xC0)),
        (Enip, enip(0x65, b"context!"), enip(0x65, b"another!")),
        (Enip, enip(0x63, b"context!"), enip(0x65, b"context!")),
        (S7comm, CONNECT + s7(1), CONNECTED + s7(9)),
        (Iec104, IEC_START, b"HTTP/1.1 200 OK\r\n"),
        (OpcUa, OPC_HELLO, b"HTTP/1.1 200 OK\r\n"),
        (Bgp, BGP_OPEN, b"SSH-2.0-x\r\n"),
    ],
)
def test_answers_that_do_not_fit_confirm_nothing(kind: type[Detector], request_: bytes, reply: bytes) -> None:
    assert level(kind, CLIENT(request_), SERVER(reply)) is not CONFIRMED
    assert level(kind, SERVER(reply), CLIENT(request_)) is not CONFIRMED


def test_errors_answer_a_modbus_request() -> None:
    assert level(Modbus, CLIENT(modbus(1, 3)), SERVER(modbus(1, 0x83, b"\x02"))) is CONFIRMED


def test_one_side_alone_is_worth_what_it_shows() -> None:
    assert level(Modbus, CLIENT(modbus(1, 3))) is None
    assert level(Enip, CLIENT(enip(0x65, b"context!"))) is PROBABLE
    assert level(Enip, CLIENT(enip(0x63, b"context!"))) is POSSIBLE
    assert level(Enip, CLIENT(enip(0x01, b"context!", status=1))) is None
    assert level(Bgp, SERVER(BGP_OPEN)) is PROBABLE
    assert level(Iec104, SERVER(IEC_STARTED)) is PROBABLE
    assert level(Bacnet, SERVER(BACNET_I_AM)) is PROBABLE


def test_silence_of_the_other_side_is_not_waited_for() -> None:
    given = list(datagrams(Bacnet(), [CLIENT(BACNET_WHO)] * 300))
    assert given[-1] is Opinion.NO
    assert len(given) < 9


def test_errors_of_icmpv6_are_told_from_messages_of_icmp() -> None:
    too_late = b"\x03\x00\x12\x34\x00\x00\x05\x00" + INNER6
    assert level(Icmp, CLIENT(too_late)) is CONFIRMED
    assert level(Icmp, CLIENT(b"\x03\x00\x12\x34" + bytes(52))) is PROBABLE


def test_pim_sums_only_the_header_of_a_register_message() -> None:
    register = summed(b"\x21\x00\x00\x00" + bytes(4), 2) + noise(60)
    assert level(Pim, CLIENT(register)) is CONFIRMED
