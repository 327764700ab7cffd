"""TFTP: requests in whole fields, blocks that are acknowledged one by one."""

import pytest

from middlebox.detect.tftp import Tftp
from middlebox.evidence import Confidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, datagrams, last_evidence
from tests.detect.samples_ordinary_udp import TFTP_ACKNOWLEDGEMENT, TFTP_BLOCK, TFTP_REQUEST


@pytest.mark.parametrize(
    ("why", "first"),
    [
        ("no mode", b"\x00\x01boot.img\x00"),
        ("a mode that none has", b"\x00\x01boot.img\x00binary\x00"),
        ("no name", b"\x00\x01\x00octet\x00"),
        ("no end", TFTP_REQUEST[:-1]),
        ("an option without a value", TFTP_REQUEST + b"tsize\x00"),
        ("an opcode that none has", b"\x00\x07\x00\x01"),
        ("an acknowledgement with more", TFTP_ACKNOWLEDGEMENT + b"\x00"),
        ("an option that none has", b"\x00\x06colour\x00red\x00"),
    ],
)
def test_near_misses_are_rejected_at_once(why: str, first: bytes) -> None:
    assert list(datagrams(Tftp(), [CLIENT(first)])) == [Opinion.NO], why


def test_one_block_alone_says_nothing() -> None:
    assert list(datagrams(Tftp(), [CLIENT(TFTP_BLOCK)])) == [Opinion.MORE]
    assert list(datagrams(Tftp(), [CLIENT(TFTP_ACKNOWLEDGEMENT)])) == [Opinion.MORE]


def test_options_may_be_acknowledged() -> None:
    evidence = last_evidence(datagrams(Tftp(), [CLIENT(TFTP_REQUEST), SERVER(b"\x00\x06blksize\x001468\x00")]))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
