"""WireGuard: indices that link, data without a handshake, and messages that only have the right sizes."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.wireguard import WireGuard
from middlebox.evidence import Answer, Confidence, Evidence, Opinion, Proof
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence

HERE, THERE, ELSEWHERE = 0x5EED0001, 0x5EED0002, 0x5EED0003
BOTH_WAYS = "data both ways, each with a constant receiver index and advancing counters"


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that look encrypted, the same on every run."""
    return random.Random(1000 * size + seed).randbytes(size)


def initiation(sender: int = HERE, seed: int = 0) -> bytes:
    return struct.pack("<II", 1, sender) + noise(124, seed) + bytes(16)


def response(sender: int = THERE, receiver: int = HERE) -> bytes:
    return struct.pack("<III", 2, sender, receiver) + noise(64) + bytes(16)


def cookie(receiver: int = HERE) -> bytes:
    return struct.pack("<II", 3, receiver) + noise(56)


def data(receiver: int, counter: int, size: int = 112) -> bytes:
    return struct.pack("<IIQ", 4, receiver, counter) + noise(size - 16, counter % 1000)


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(WireGuard(), messages))


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(WireGuard(), messages))


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


def proof(message: bytes, *, answered: bool = True) -> Proof:
    return Proof("wireguard", "initiation", message, answered=answered)


# From a recording of two wireguard-go 0.0.20220316 peers in the project's lab: handshake and first keepalive.
RECORDED_WIREGUARD = (
    CLIENT(
        bytes.fromhex("""
        01000000301df3ea5886d2d209e573b97972c90f81c38906fac872c5a5e4dd729991e077489f143e76c24ef1ad103cb0
        620d43de1b0bdfbdd48124b42a5d50b6682e966bcff472bc8233b7c56be2f53cd2107651c6f9fd3ff09b0983242288ca
        c2b28dcf5b056766ca4b684717e90dcb91f781b7049fca41a41f7fa425e4b8ea7eb8e4a7000000000000000000000000
        00000000
        """)
    ),
    SERVER(
        bytes.fromhex("""
        02000000c6738056301df3eab736675c9fac2a5b7e521acfc2805e433c7be866c6720b8dbe01afc8202c646a0bf6413b
        8e9ae490f62ea17d633c0a731cd780a0466247ec259074b67d0b46d700000000000000000000000000000000
        """)
    ),
    CLIENT(
        bytes.fromhex("""
        04000000c67380560000000000000000efeb5db5ac599f8ce01d22db85565db6
        """)
    ),
)


def test_recorded_handshake_is_confirmed_by_its_response() -> None:
    evidence = udp(*RECORDED_WIREGUARD[:2])
    assert evidence
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("wireguard", Confidence.CONFIRMED, False)
    assert evidence.reason == "the response goes to the initiation's sender index"
    assert evidence.proof == proof(RECORDED_WIREGUARD[0][1])


def test_initiation_alone_is_possible_and_waits() -> None:
    evidence = udp(CLIENT(initiation()))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.POSSIBLE, True)
    assert evidence.reason == "a handshake initiation"
    assert evidence.proof == proof(initiation(), answered=False)


def test_response_with_the_initiations_index_confirms() -> None:
    evidence = udp(CLIENT(initiation()), SERVER(response()))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
    assert evidence.proof == proof(initiation())


def test_cookie_reply_with_the_initiations_index_confirms() -> None:
    evidence = udp(CLIENT(initiation()), SERVER(cookie()))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
    assert evidence.reason == "the cookie reply goes to the initiation's sender index"
    assert evidence.proof == proof(initiation())


def test_data_to_the_initiations_index_confirms_when_the_response_was_lost() -> None:
    evidence = udp(CLIENT(initiation()), SERVER(data(HERE, 0)))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
    assert evidence.reason == "data goes to the initiation's sender index"


def test_the_side_that_did_not_open_the_flow_may_initiate() -> None:
    evidence = udp(SERVER(initiation()), CLIENT(response()))
    assert evidence
    assert (evidence.confidence, evidence.proof) == (Confidence.CONFIRMED, proof(initiation()))


def test_same_size_wrong_index_passes() -> None:
    for answer in (
        response(receiver=ELSEWHERE),
        response(sender=HERE, receiver=ELSEWHERE),
        response(receiver=int.from_bytes(HERE.to_bytes(4, "big"), "little")),
        cookie(receiver=ELSEWHERE),
        data(ELSEWHERE, 0),
    ):
        assert level(udp(CLIENT(initiation()), SERVER(answer))) is Confidence.POSSIBLE


def test_an_answer_from_the_same_side_links_nothing() -> None:
    for answer in (response(), cookie(), data(HERE, 0)):
        assert level(udp(CLIENT(initiation()), CLIENT(answer))) is Confidence.POSSIBLE


def test_a_flow_that_only_echoes_links_nothing() -> None:
    echoed = [side(message) for message in (initiation(), data(HERE, 0), data(HERE, 1)) for side in (CLIENT, SERVER)]
    assert level(udp(*echoed[:2])) is Confidence.POSSIBLE
    assert udp(*echoed[2:] * 2) is None


def test_repeated_initiations_stay_possible_and_say_so_once() -> None:
    retries = [initiation(sender, sender) for sender in range(1, 21)]
    given_answers = answers(*(CLIENT(retry) for retry in retries))
    evidence = last_evidence(given_answers)
    assert evidence
    assert evidence.confidence is Confidence.POSSIBLE
    assert evidence.reason == "a handshake initiation, repeated without an answer"
    assert evidence.proof == proof(retries[1], answered=False)
    assert given_answers[2:] == [Opinion.MORE] * 18


def test_a_copied_initiation_is_no_repetition() -> None:
    assert answers(CLIENT(initiation()), CLIENT(initiation()))[1:] == [Opinion.MORE]


def test_an_answer_to_any_of_the_last_initiations_confirms_with_that_one() -> None:
    retries = [initiation(sender, sender) for sender in range(1, 6)]
    for index, expected in ((1, None), (2, retries[1]), (5, retries[4])):
        evidence = udp(*(CLIENT(retry) for retry in retries), SERVER(response(receiver=index)))
        assert evidence
        if expected is None:
            assert evidence.confidence is Confidence.POSSIBLE
        else:
            assert (evidence.confidence, evidence.proof) == (Confidence.CONFIRMED, proof(expected))


def test_data_each_way_twice_confirms_without_a_handshake() -> None:
    for start in (0, 5_000_000_000):
        conversation = (
            CLIENT(data(THERE, start)),
            SERVER(data(HERE, 7)),
            CLIENT(data(THERE, start + 1)),
            SERVER(data(HERE, 8)),
        )
        assert udp(*conversation[:3]) is None
        evidence = udp(*conversation)
        assert evidence
        assert (evidence.confidence, evidence.more, evidence.proof) == (Confidence.CONFIRMED, True, None)
        assert evidence.reason == BOTH_WAYS


def test_reordered_and_copied_data_confirms_all_the_same() -> None:
    evidence = udp(
        CLIENT(data(THERE, 9)),
        CLIENT(data(THERE, 8)),
        CLIENT(data(THERE, 9)),
        SERVER(data(HERE, 3)),
        CLIENT(data(THERE, 10)),
        SERVER(data(HERE, 5)),
    )
    assert level(evidence) is Confidence.CONFIRMED


@pytest.mark.parametrize(
    ("why", "second_of_server"),
    [
        ("another index", data(ELSEWHERE, 8)),
        ("the same counter", data(HERE, 7)),
        ("a lower counter", data(HERE, 6)),
        ("a counter that leaps", data(HERE, 7 + 8193)),
        ("a counter no key lives to see", data(HERE, 2**41)),
        ("no padded length", data(HERE, 8, size=111)),
        ("too short", data(HERE, 8)[:31]),
        ("a tag of zeros", data(HERE, 8)[:-16] + bytes(16)),
        ("a tag of text", data(HERE, 8)[:-16] + b"0000 0001 0002 0"),
        ("a reserved byte", b"\x04\x00\x01\x00" + data(HERE, 8)[4:]),
        ("another type", b"\x05\x00\x00\x00" + data(HERE, 8)[4:]),
    ],
)
def test_data_that_does_not_continue_links_nothing(why: str, second_of_server: bytes) -> None:
    evidence = udp(CLIENT(data(THERE, 0)), SERVER(data(HERE, 7)), CLIENT(data(THERE, 1)), SERVER(second_of_server))
    assert evidence is None, why


def test_an_index_that_both_directions_share_is_another_protocol() -> None:
    conversation = [side(data(HERE, counter)) for counter in range(3) for side in (CLIENT, SERVER)]
    assert answers(*conversation)[-1] is Opinion.NO
    assert udp(*conversation) is None


def test_kcp_with_conversation_4_is_another_protocol() -> None:
    def push(window: int, number: int, time_ms: int) -> bytes:
        return struct.pack("<IBBHIIII", 4, 81, 0, window, time_ms, number, number, 24) + noise(24, number)

    conversation = [
        side(push(window, number, 1000 + 20 * number))
        for number in range(40)
        for side, window in ((CLIENT, 128), (SERVER, 256))
    ]
    assert udp(*conversation) is None


def test_data_cut_to_the_mtu_counts_and_other_odd_lengths_do_not() -> None:
    full = 1452  # a full packet at the default MTU of 1420, not a multiple of 16
    download = (CLIENT(data(THERE, 0, 32)), SERVER(data(HERE, 0, full)), CLIENT(data(THERE, 1, 32)))
    assert level(udp(*download, SERVER(data(HERE, 1, full)))) is Confidence.CONFIRMED
    assert level(udp(*download, SERVER(data(HERE, 1, 48)))) is Confidence.CONFIRMED
    assert udp(*download, SERVER(data(HERE, 1, full - 3))) is None
    assert udp(*download, SERVER(data(HERE, 1, full + 4))) is None


def test_data_one_way_is_probable_at_most() -> None:
    stream = [CLIENT(data(THERE, counter)) for counter in range(200)]
    assert udp(*stream[:3]) is None
    evidence = udp(*stream)
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, True)
    assert evidence.reason == "data one way, with a constant receiver index and advancing counters"
    assert level(udp(*stream, SERVER(data(HERE, 0)))) is Confidence.PROBABLE
    assert level(udp(*stream, SERVER(data(HERE, 0)), SERVER(data(HERE, 1)))) is Confidence.CONFIRMED


def test_data_that_is_answered_once_is_neither_one_way_nor_both_ways() -> None:
    assert udp(SERVER(data(HERE, 0)), *[CLIENT(data(THERE, counter)) for counter in range(20)]) is None


def test_counters_that_no_key_lives_to_see_are_another_protocol() -> None:
    start = 2**40 + 1
    first = (CLIENT(data(THERE, start)), SERVER(data(HERE, start)))
    assert answers(*first) == [Opinion.NO]


def test_a_later_handshake_tells_for_whom_known_data_is() -> None:
    known = [side(data(index, counter)) for counter in (0, 1) for side, index in ((CLIENT, THERE), (SERVER, HERE))]
    rekey = initiation(0x0BAD)
    evidence = udp(*known, CLIENT(data(THERE, 2)), CLIENT(rekey))
    assert evidence
    assert (evidence.confidence, evidence.more, evidence.proof) == (
        Confidence.CONFIRMED,
        True,
        proof(rekey, answered=False),
    )
    assert evidence.reason == "data as before, and now a handshake initiation"
    evidence = udp(*known, CLIENT(rekey), SERVER(data(HERE, 2)), SERVER(response(receiver=0x0BAD)))
    assert evidence
    assert (evidence.confidence, evidence.more, evidence.proof) == (Confidence.CONFIRMED, False, proof(rekey))
    assert evidence.reason == "the response goes to the initiation's sender index"


def test_known_data_is_said_once() -> None:
    known = [side(data(i, counter)) for counter in range(50) for side, i in ((CLIENT, THERE), (SERVER, HERE))]
    given_answers = answers(*known)
    assert len(given_answers) == 100
    assert [type(answer) for answer in given_answers].count(Evidence) == 1


@pytest.mark.parametrize("messages", [(SERVER(response()), CLIENT(data(THERE, 0))), RECORDED_WIREGUARD[1:]])
def test_a_flow_joined_at_its_response_is_confirmed_without_proof(messages: tuple[Message, ...]) -> None:
    evidence = udp(*messages)
    assert evidence
    assert (evidence.confidence, evidence.more, evidence.proof) == (Confidence.CONFIRMED, True, None)
    assert evidence.reason == "data goes to the response's sender index"


def test_strangers_are_passed_over_a_few_times_only() -> None:
    stun = SERVER(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + noise(12))
    assert level(udp(CLIENT(initiation()), *[stun] * 4, SERVER(response()))) is Confidence.CONFIRMED
    assert answers(CLIENT(initiation()), *[stun] * 5)[-1] is Opinion.NO


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("initiation one byte short", initiation()[:-1]),
        ("initiation one byte long", initiation() + b"\x00"),
        ("initiation with reserved bytes, as Cloudflare WARP sends", b"\x01\xaa\xbb\xcc" + initiation()[4:]),
        ("initiation without a key", initiation()[:8] + bytes(140)),
        ("response one byte short", response()[:-1]),
        ("data without its tag", data(HERE, 0, 16)),
        ("stun", b"\x00\x01\x00\x00\x21\x12\xa4\x42" + noise(12)),
        ("stun success", b"\x01\x01\x00\x0c\x21\x12\xa4\x42" + noise(24)),
        ("dtls", b"\x16\xfe\xfd" + bytes(8) + b"\x00\x36\x01" + noise(53)),
        ("quic long header", b"\xc3\x00\x00\x00\x01\x08" + noise(1194)),
        ("quic short header", b"\x44" + noise(1199)),
        ("gtp-u", b"\x30\xff\x00\x24\x00\x00\x00\x01" + noise(36)),
        ("utp data", b"\x01\x00" + noise(146)),
        ("utp syn", b"\x41\x00" + noise(18)),
        ("rtp", b"\x80\x60" + noise(170)),
        ("dns query with id 0x0100", b"\x01\x00\x01\x00\x00\x01" + bytes(6) + b"\x01a\x03org\x00\x00\x01\x00\x01"),
        ("telemetry, type 4", struct.pack("<IIQ", 4, 17, 1) + struct.pack("<8f", *[20.5] * 8)),
        ("openvpn", b"\x38" + noise(8) + bytes(5)),
    ],
)  # fmt: skip
def test_first_datagram_of_another_protocol_is_rejected_at_once(name: str, first: bytes) -> None:
    for from_client in (True, False):
        assert answers((from_client, first)) == [Opinion.NO], name


wireguard_messages = st.sampled_from(
    [initiation(), response(), cookie(), *(data(index, counter) for index in (HERE, THERE) for counter in range(3))]
)
damaged = st.builds(
    lambda message, at, byte, end: (message[:at] + bytes([byte]) + message[at + 1 :])[:end],
    wireguard_messages,
    st.integers(0, 148),
    st.integers(0, 255),
    st.integers(1, 160),
)


@given(st.lists(st.tuples(st.booleans(), st.one_of(wireguard_messages, damaged, st.binary(min_size=1))), max_size=12))
def test_any_bytes_get_an_answer(messages: list[Message]) -> None:
    assert all(isinstance(answer, (Evidence, Opinion)) for answer in answers(*messages))


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=200)), max_size=12))
def test_random_bytes_are_never_wireguard(messages: list[Message]) -> None:
    assert udp(*messages) is None


@given(st.sampled_from([initiation(), response(), cookie()]), st.integers(1, 147))
def test_a_truncated_handshake_message_is_rejected(message: bytes, end: int) -> None:
    if end < len(message):
        assert answers(CLIENT(message[:end])) == [Opinion.NO]
