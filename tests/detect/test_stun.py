"""STUN and TURN: what counts as a message, what links, when a flow is TURN, framing over TCP."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.stun import Stun, parse_message
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream
from tests.detect.samples import MAPPED, RELAYED, SOFTWARE, TRANSPORT, stun, with_length

BINDING, BINDING_OK, BINDING_ERROR, BINDING_INDICATION = 0x0001, 0x0101, 0x0111, 0x0011
ALLOCATE, ALLOCATE_OK, ALLOCATE_ERROR = 0x0003, 0x0103, 0x0113
DTLS = b"\x16\xfe\xfd" + bytes(8) + b"\x00\x20\x01" + bytes(31)
RTP = b"\x80\x00" + bytes(170)
CHANNEL_DATA = b"\x40\x00\x00\x05hello\x00\x00\x00"
CLASSIC_COOKIE = b"abcd"


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(Stun(), messages))


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(Stun(), messages, segment=segment))


def test_request_alone_is_probable() -> None:
    evidence = udp(CLIENT(stun(BINDING, SOFTWARE)))
    assert evidence
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("stun", Confidence.PROBABLE, True)
    assert evidence.facts == {"stun.method": "binding"}
    assert evidence.reason == "a well-formed binding message with the magic cookie"


@pytest.mark.parametrize("kind", [BINDING_OK, BINDING_ERROR])
def test_response_with_the_same_transaction_confirms(kind: int) -> None:
    evidence = udp(CLIENT(stun(BINDING)), SERVER(stun(kind, MAPPED)))
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("stun", Confidence.CONFIRMED)
    assert evidence.reason == "the binding response repeats the request's transaction id"


def test_request_of_the_server_may_be_the_one_that_is_answered() -> None:
    asked, answered = (stun(kind, transaction=b"server-asks!") for kind in (BINDING, BINDING_OK))
    messages = (CLIENT(stun(BINDING)), SERVER(asked), CLIENT(answered))
    for evidence in (udp(*messages), tcp(*messages)):
        assert evidence
        assert evidence.confidence is Confidence.CONFIRMED


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(SERVER(stun(BINDING_OK, transaction=b"another one!")), id="other transaction"),
        pytest.param(SERVER(stun(ALLOCATE_ERROR)), id="other method"),
        pytest.param(SERVER(stun(BINDING)), id="a request"),
        pytest.param(SERVER(stun(BINDING_INDICATION)), id="an indication"),
        pytest.param(CLIENT(stun(BINDING_OK)), id="from the side that asked"),
    ],
)
def test_what_does_not_match_stays_probable(answer: Message) -> None:
    for evidence in (udp(CLIENT(stun(BINDING)), answer), tcp(CLIENT(stun(BINDING)), answer)):
        assert evidence
        assert evidence.confidence is Confidence.PROBABLE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(stun(BINDING) + b"\x00\x00\x00\x00", id="longer than it says"),
        pytest.param(stun(BINDING, SOFTWARE)[:-4], id="shorter than it says"),
        pytest.param(b"\x00\x01\x00\x02\x21\x12\xa4\x42" + bytes(14), id="length not a multiple of 4"),
        pytest.param(b"\x80" + stun(BINDING)[1:], id="top bits set"),
        pytest.param(b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"\x80\x22\x00\x05", id="attribute too long"),
        pytest.param(stun(ALLOCATE, TRANSPORT, cookie=CLASSIC_COOKIE), id="TURN without cookie"),
        pytest.param(stun(BINDING, SOFTWARE, cookie=CLASSIC_COOKIE), id="new attribute without cookie"),
        pytest.param(DTLS, id="DTLS"),
        pytest.param(RTP, id="RTP"),
        pytest.param(CHANNEL_DATA, id="ChannelData"),
        pytest.param(bytes(20), id="zeros"),
    ],
)
def test_what_breaks_a_rule_is_not_stun(data: bytes) -> None:
    assert list(datagrams(Stun(), [CLIENT(data)])) == [Opinion.NO]


@pytest.mark.parametrize(
    ("kind", "method"),
    [(0x0002, "shared-secret"), (0x0004, "refresh"), (0x0016, "send"), (0x0009, "channel-bind"), (0x0800, "0x200")],
)
def test_methods_have_names(kind: int, method: str) -> None:
    evidence = udp(CLIENT(stun(kind)))
    assert evidence
    assert evidence.facts == {"stun.method": method}


def test_allocation_is_turn() -> None:
    evidence = udp(CLIENT(stun(ALLOCATE, TRANSPORT)), SERVER(stun(ALLOCATE_OK, RELAYED)))
    assert evidence
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("turn", Confidence.CONFIRMED, False)
    assert evidence.facts == {"stun.method": "allocate"}


def test_attribute_of_allocations_makes_a_flow_turn() -> None:
    evidence = udp(CLIENT(stun(BINDING, (0x000D, bytes(4)))))
    assert evidence
    assert evidence.protocol == "turn"


def test_confirmed_stun_may_become_turn_but_only_by_proof() -> None:
    refused = stun(ALLOCATE_ERROR, transaction=b"transaction2")
    messages = [CLIENT(stun(BINDING)), SERVER(stun(BINDING_OK)), CLIENT(stun(ALLOCATE, transaction=b"transaction2"))]
    before, after = udp(*messages), udp(*messages, SERVER(refused))
    assert before
    assert after
    assert (before.protocol, before.confidence, before.more) == ("stun", Confidence.CONFIRMED, True)
    assert (after.protocol, after.confidence, after.more) == ("turn", Confidence.CONFIRMED, False)


def test_media_after_confirmed_stun_ends_the_search() -> None:
    answers = list(datagrams(Stun(), [CLIENT(stun(BINDING)), SERVER(stun(BINDING_OK)), CLIENT(DTLS), SERVER(DTLS)]))
    assert len(answers) == 3
    assert answers[-1] is Opinion.NO


def test_media_may_come_before_the_answer_but_not_for_ever() -> None:
    some = [CLIENT(RTP)] * 8
    evidence = udp(CLIENT(stun(BINDING)), *some, SERVER(stun(BINDING_OK)))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert list(datagrams(Stun(), [CLIENT(stun(BINDING)), *some, CLIENT(RTP)]))[-1] is Opinion.NO


def test_classic_stun_is_never_more_than_possible() -> None:
    messages = [stun(kind, cookie=CLASSIC_COOKIE) for kind in (BINDING, BINDING_OK)]
    evidence = udp(CLIENT(messages[0]), SERVER(messages[1]))
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("stun", Confidence.POSSIBLE)


@pytest.mark.parametrize("segment", [1, 3, 1460])
@pytest.mark.parametrize("framed", [False, True])
def test_tcp_exchange_confirms_however_it_is_cut(framed: bool, segment: int) -> None:
    frame = with_length if framed else bytes
    messages = (CLIENT(frame(stun(BINDING, SOFTWARE))), SERVER(frame(stun(BINDING_OK, MAPPED))))
    evidence = tcp(*messages, segment=segment)
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("stun", Confidence.CONFIRMED)


def test_channel_data_between_tcp_messages_is_stepped_over() -> None:
    asked = stun(BINDING) + CHANNEL_DATA + stun(ALLOCATE, transaction=b"transaction2")
    evidence = tcp(CLIENT(asked), SERVER(CHANNEL_DATA))
    assert evidence
    assert evidence.protocol == "turn"


def test_no_more_messages_are_read_of_a_stream_than_an_allocation_takes() -> None:
    others = [stun(BINDING_OK, transaction=b"%012d" % number) for number in range(64)]
    for kept, level in ((63, Confidence.CONFIRMED), (64, Confidence.PROBABLE)):
        evidence = tcp(CLIENT(stun(BINDING)), SERVER(b"".join(others[:kept]) + stun(BINDING_OK)))
        assert evidence
        assert evidence.confidence is level


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(CHANNEL_DATA, id="ChannelData"),
        pytest.param(DTLS, id="DTLS"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="HTTP"),
        pytest.param(b"\x00\x15" + stun(BINDING), id="frame of another length"),
        pytest.param(stun(BINDING, cookie=CLASSIC_COOKIE), id="no cookie"),
        pytest.param(b"\x00\x01\x00\x02\x21\x12\xa4\x42" + bytes(14), id="length not a multiple of 4"),
    ],
)
def test_other_streams_are_refused_at_once(data: bytes) -> None:
    assert list(stream(Stun(), [CLIENT(data)])) == [Opinion.NO]


def test_tcp_stream_that_goes_on_otherwise_keeps_its_finding() -> None:
    evidence = tcp(CLIENT(stun(BINDING)), SERVER(stun(BINDING_OK) + b"\xff" * 20))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=100))
def test_parser_never_raises(kind: int, length: int, rest: bytes) -> None:
    for data in (struct.pack("!HH", kind, length) + rest, struct.pack("!HH", kind, max(len(rest) - 16, 0)) + rest):
        message = parse_message(data)
        assert message is None or len(data) >= 20


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=6))
def test_every_well_formed_message_is_read_and_no_cut_of_it(attributes: list[tuple[int, bytes]]) -> None:
    data = stun(BINDING, *attributes)
    assert parse_message(data)
    assert all(parse_message(data[:end]) is None for end in range(len(data)))
