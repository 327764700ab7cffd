"""OpenVPN: every wrap over both transports, what links and what only looks like it, framing over TCP."""

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import STREAM_LIMIT
from middlebox.detect.openvpn import OpenVpn
from middlebox.evidence import Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence, stream

CONTROL, ACK, CLIENT_RESET, SERVER_RESET, DATA, CLIENT_RESET_V3, CONTROL_WITH_KEY = 4, 5, 7, 8, 9, 10, 11
HERE, THERE, ELSEWHERE = b"client-s", b"server-s", b"elsewher"
TIME = 1_795_000_000
DAY = 86_400
EARLY = 0x0F000000
HMAC_SIZES = (16, 20, 28, 32, 48, 64)
CLEAR_WRAPS = (0, *HMAC_SIZES)


def noise(size: int) -> bytes:
    """Bytes that look encrypted, the same on every run."""
    return random.Random(size).randbytes(size)


def clear(
    opcode: int,
    session: bytes,
    *,
    echo: bytes = b"",
    payload: bytes = b"",
    hmac: int = 0,
    key: int = 0,
    replay: int = 1,
) -> bytes:
    """A control packet without a wrap, or with tls-auth; `echo` is acknowledged, when given."""
    wrap = noise(hmac) + struct.pack("!II", replay, TIME) if hmac else b""
    acks = b"\x01" + bytes(4) + echo if echo else b"\x00"
    packet_id = b"" if opcode == ACK else struct.pack("!I", opcode == CONTROL)
    return bytes([opcode << 3 | key]) + session + wrap + acks + packet_id + payload


def crypt(
    opcode: int, session: bytes, replay: int, *, hidden: int = 5, time: int = TIME, wrapped_key: bytes = b""
) -> bytes:
    """A control packet with tls-crypt; `hidden` is how much is encrypted behind the tag."""
    return bytes([opcode << 3]) + session + struct.pack("!II", replay, time) + noise(32 + hidden) + wrapped_key


WRAPPED_KEY = noise(297) + struct.pack("!H", 299)
PLAIN_RESET = clear(CLIENT_RESET, HERE)
PLAIN_ANSWER = clear(SERVER_RESET, THERE, echo=HERE)


def framed(message: Message) -> Message:
    """The message as OpenVPN sends it over TCP."""
    return message[0], struct.pack("!H", len(message[1])) + message[1]


def udp(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(OpenVpn(), messages))


def tcp(*messages: Message, segment: int = 1460) -> Evidence | None:
    return last_evidence(stream(OpenVpn(), [framed(message) for message in messages], segment=segment))


over_both = pytest.mark.parametrize("over", [udp, tcp])


def proven(evidence: Evidence) -> tuple[bytes, bool]:
    """The message of the proof, and whether it was answered."""
    assert evidence.proof
    assert (evidence.proof.protocol, evidence.proof.kind) == ("openvpn", "client-reset")
    return evidence.proof.message, evidence.proof.answered


def level(evidence: Evidence | None) -> Confidence | None:
    return evidence.confidence if evidence else None


# Recorded between two OpenVPN 2.6.14 processes on one machine, for this test. Only packets that are needed.
RECORDED_TLS_CRYPT_TCP = (
    CLIENT(
        bytes.fromhex("""
        003638161e95dd45f7c6ea000000016b04d591ae655f20f5a29afdc0e79a04364e0434cdfd56a7b8365f11398d05cad5
        ac1c64ecc1d16064
        """)
    ),
    SERVER(
        bytes.fromhex("""
        004240868a0faff36bab48000000016b04d591c96857348ca0e28d63732011de66b6273b4257b522762d5bd6153a4f23
        94433f0d1559536fa10a8bc72818853f09d48398
        """)
    ),
    CLIENT(
        bytes.fromhex("""
        015720161e95dd45f7c6ea000000026b04d591ac3224e71ad8cb98e76cc311b7caebb217063187ec72c0c0e0e86293ef
        9820715bd2019cea627fc5fee9f3123f354d6c4385e2779779d3678639a2296ed9a835dfd2322ef3611f9d12c97a35fe
        adfa03305a5dc69b8ca262ccfa2588d1a9cedb10277701c7426d41cc6ec35d6fd0419b9e3dc5ceb55d03dbfe79b73e65
        203c138bfe609fd80ba84a738aa7352f06dc8b296173fcb72bfc815bb4ef21d006c86f32035bc12057559dc2570753ee
        60ea0fcaf5115fec34cb2f57bfc58b6800b2cb32ac00bb24083bb32d3e4194a6767d2e07fb988548f10fb35f87ce99f1
        d831f49640c71cec9d0da894bd8bc0d10770eaade68e079c1410477b7b599e5cf0ce3381d43ee79b4e5e016544c70109
        889c8307218595974470fb5699b2316ba0159679e94843be438a0dd2ef42276b709719d00a90827104d0ce6264db1fa7
        2d6b585008227ec635
        """)
    ),
)
RECORDED_TLS_CRYPT_V2 = (
    CLIENT(
        bytes.fromhex("""
        5016955b26eea9398a0f0000016b04d55b35ecff0f7fd347dc889d5357013d34e4c38019ef78ce1f721e9b36e238d561
        46dbd1bc656acb1eba191ffa44ae3f00dd5effd28c513bfa1aca0aadc4c34722e16d957248e388cca27c3c7f093a3bf2
        320477b29fd3756a0f15c36cd1b25d21513a5d792135281ba2e7a3d78ba5ac2aeb8ec906220e3ed69ed9399abc8f99ed
        e08f12f7ef95a66e4005866c949b8ddefc2e4c757c5fb11ced0a420a63065f51f0e22818ef8c09f9154631674d096f1e
        a9c1c02207a8fc07df279dd9769dd2ad508eaad6d69e276d707c551fb8393283e2dedab4a062a1f5fdd36b3086813a87
        3e5c0da36b5a7eaa313b96bf946cb23eddc644fc67443559864324c305aa7ded3e092c6b07d62cc8b2d0adbe9ada8b1f
        b369064b44f901f72a095ef7e3775332a1a495bf4ec9f022e9ccb329bd2b83dfd0751f61b0febf138d20294679109794
        81c6e8b140e3ef3ace709592ad5a1f012b
        """)
    ),
    SERVER(
        bytes.fromhex("""
        40aecc2a7dfa9df5b6000000016b04d55b2a891bf2014bb5c422e89e60169eb9cdfda746e750a211656617996d425b7a
        43bf20653abcc46b6a2246ff11c2b71353bf7ec92b88d047
        """)
    ),
    CLIENT(
        bytes.fromhex("""
        2816955b26eea9398a0f0000036b04d55b44f509866251bbcb88b5dc1737f0344dcee19286ddefe78dfdf8068405e52a
        4e6cc4fac6c3f757a932387271f148ddfb6e
        """)
    ),
)
RECORDED_TLS_AUTH_SHA512 = (
    CLIENT(
        bytes.fromhex("""
        386c64873aba26b3d7c873373808bc553b505a89b73d7ddee3a47e97e2b8c734a73863d0a87a5da5ed01c9de68f87aa9
        2e916ee9447d8fcd7eeaf528263380d868a7d344fbbbf83ca5000000016b04d57d0000000000
        """)
    ),
    SERVER(
        bytes.fromhex("""
        40d755dd578bd83665ee661999d0cb4944a6d33969db6fbe7b92b75564d2ec7b8a65e40cb5307370c2d46fcc25532654
        e174dbf02e3d0f928afd34d7ab6130a200502fc76ba51d84ee000000016b04d57d01000000006c64873aba26b3d70000
        0000
        """)
    ),
)


@over_both
@pytest.mark.parametrize("hmac", CLEAR_WRAPS)
def test_server_reset_that_echoes_the_session_id_confirms(over: Callable[..., Evidence | None], hmac: int) -> None:
    reset = clear(CLIENT_RESET, HERE, hmac=hmac)
    evidence = over(CLIENT(reset), SERVER(clear(SERVER_RESET, THERE, echo=HERE, hmac=hmac)))
    assert evidence
    assert (evidence.protocol, evidence.confidence, evidence.more) == ("openvpn", Confidence.CONFIRMED, False)
    assert evidence.reason == "server reset echoes the client's session id"
    expected = {"openvpn.wrap": "tls-auth", "openvpn.hmac_bytes": hmac} if hmac else {"openvpn.wrap": "none"}
    assert evidence.facts == expected
    assert proven(evidence) == (reset, True)


@over_both
@pytest.mark.parametrize("hmac", CLEAR_WRAPS)
def test_another_session_id_in_the_echo_passes(over: Callable[..., Evidence | None], hmac: int) -> None:
    reset, answer = (
        clear(CLIENT_RESET, HERE, hmac=hmac),
        clear(SERVER_RESET, THERE, echo=HERE[:-1] + b"x", hmac=hmac),
    )
    assert level(over(CLIENT(reset), SERVER(answer), SERVER(answer))) is Confidence.POSSIBLE


@over_both
@pytest.mark.parametrize("hmac", CLEAR_WRAPS)
def test_an_echo_at_the_offset_of_another_wrap_passes(over: Callable[..., Evidence | None], hmac: int) -> None:
    other = 64 if hmac != 64 else 20
    reset, answer = clear(CLIENT_RESET, HERE, hmac=hmac), clear(SERVER_RESET, THERE, echo=HERE, hmac=other)
    assert level(over(CLIENT(reset), SERVER(answer))) is Confidence.POSSIBLE


@over_both
@pytest.mark.parametrize(
    ("wrap", "reset", "answer", "next_one"),
    [
        ("tls-crypt", crypt(7, HERE, 1), crypt(8, THERE, 1, hidden=17), crypt(5, HERE, 2, hidden=13)),
        ("tls-crypt", crypt(7, HERE, 1), crypt(8, THERE, 1, hidden=17), crypt(4, HERE, 2, hidden=294)),
        (
            "tls-crypt-v2",
            crypt(10, HERE, EARLY + 1, wrapped_key=WRAPPED_KEY),
            crypt(8, THERE, 1, hidden=23),
            crypt(11, HERE, EARLY + 2, hidden=294, wrapped_key=WRAPPED_KEY),
        ),
        (
            "tls-crypt-v2",
            crypt(10, HERE, 1, wrapped_key=WRAPPED_KEY),
            crypt(8, THERE, 1, hidden=17),
            crypt(4, HERE, 2, hidden=294),
        ),
    ],
)
def test_tls_crypt_is_confirmed_by_the_third_packet(
    over: Callable[..., Evidence | None], wrap: str, reset: bytes, answer: bytes, next_one: bytes
) -> None:
    assert level(over(CLIENT(reset))) is Confidence.POSSIBLE
    early = over(CLIENT(reset), SERVER(answer))
    assert early
    assert (early.confidence, early.more) == (Confidence.PROBABLE, True)
    assert early.reason == "client and server reset, and their clocks agree"
    evidence = over(CLIENT(reset), SERVER(answer), CLIENT(next_one))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.CONFIRMED, False)
    assert evidence.reason == (
        "after both resets the client's session id comes again with the next replay id; clocks agree"
    )
    assert evidence.facts == {"openvpn.wrap": wrap}
    assert proven(evidence) == (reset, True)


@over_both
@pytest.mark.parametrize(
    ("answer", "next_one", "why"),
    [
        (crypt(8, THERE, 1, hidden=17), crypt(5, ELSEWHERE, 2, hidden=13), "the session id changed"),
        (crypt(8, THERE, 1, hidden=17), crypt(5, HERE, 1, hidden=13), "the replay id stayed"),
        (crypt(8, THERE, 1, hidden=17), crypt(5, HERE, 2, hidden=13, time=TIME + 2 * DAY), "the clock jumped"),
        (crypt(8, THERE, 1, hidden=17, time=TIME - 2 * DAY), crypt(5, HERE, 2, hidden=13), "the clocks disagree"),
        (crypt(8, THERE, 5000, hidden=17), crypt(5, HERE, 2, hidden=13), "no replay id of a handshake"),
        (crypt(8, THERE, 1, hidden=16), crypt(5, HERE, 2, hidden=13), "no length of a server reset"),
        (crypt(4, THERE, 1, hidden=17), crypt(5, HERE, 2, hidden=13), "no server reset"),
    ],
)
def test_three_packets_of_tls_crypt_that_do_not_belong_together_pass(
    over: Callable[..., Evidence | None], answer: bytes, next_one: bytes, why: str
) -> None:
    found = level(over(CLIENT(crypt(7, HERE, 1)), SERVER(answer), CLIENT(next_one)))
    assert found is not Confidence.CONFIRMED, why


@over_both
def test_clocks_that_disagree_need_a_second_packet_each_way(over: Callable[..., Evidence | None]) -> None:
    long_ago = TIME - 20_000 * DAY
    first_three = (
        CLIENT(crypt(7, HERE, 1, time=long_ago)),
        SERVER(crypt(8, THERE, 1, hidden=17)),
        CLIENT(crypt(4, HERE, 2, hidden=294, time=long_ago)),
    )
    assert level(over(*first_three)) is Confidence.POSSIBLE
    evidence = over(*first_three, SERVER(crypt(4, THERE, 2, hidden=800)))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert evidence.reason == "after a reset both session ids come again with advancing replay ids"


def test_recorded_tls_crypt_over_tcp_is_confirmed() -> None:
    found = last_evidence(stream(OpenVpn(), RECORDED_TLS_CRYPT_TCP))
    assert found
    assert found.confidence is Confidence.CONFIRMED
    assert found.facts == {"openvpn.wrap": "tls-crypt"}
    assert found.proof
    assert found.proof.message == RECORDED_TLS_CRYPT_TCP[0][1][2:]


def test_recorded_tls_crypt_v2_is_confirmed() -> None:
    found = udp(*RECORDED_TLS_CRYPT_V2)
    assert found
    assert found.confidence is Confidence.CONFIRMED
    assert found.facts == {"openvpn.wrap": "tls-crypt-v2"}


def test_recorded_tls_auth_is_confirmed() -> None:
    found = udp(*RECORDED_TLS_AUTH_SHA512)
    assert found
    assert found.confidence is Confidence.CONFIRMED
    assert found.facts == {"openvpn.wrap": "tls-auth", "openvpn.hmac_bytes": 64}


@over_both
def test_reset_alone_is_possible_and_waits(over: Callable[..., Evidence | None]) -> None:
    evidence = over(CLIENT(PLAIN_RESET))
    assert evidence
    assert (evidence.confidence, evidence.more) == (Confidence.POSSIBLE, True)
    assert evidence.reason == "a client reset of 14 bytes"
    assert proven(evidence) == (PLAIN_RESET, False)


def test_repeated_resets_say_nothing_new_and_do_not_tire() -> None:
    answers = list(datagrams(OpenVpn(), [CLIENT(PLAIN_RESET)] * 100))
    assert level(last_evidence(answers[:1])) is Confidence.POSSIBLE
    assert answers[1:] == [Opinion.MORE] * 99
    assert level(udp(*[CLIENT(PLAIN_RESET)] * 100, SERVER(PLAIN_ANSWER))) is Confidence.CONFIRMED


def test_late_answer_to_the_session_before_the_newest_confirms_with_its_reset() -> None:
    evidence = udp(CLIENT(PLAIN_RESET), CLIENT(clear(CLIENT_RESET, ELSEWHERE)), SERVER(PLAIN_ANSWER))
    assert evidence
    assert evidence.confidence is Confidence.CONFIRMED
    assert proven(evidence) == (PLAIN_RESET, True)


@over_both
def test_packets_out_of_order_confirm(over: Callable[..., Evidence | None]) -> None:
    for evidence in (
        over(SERVER(PLAIN_ANSWER), CLIENT(PLAIN_RESET)),
        over(CLIENT(PLAIN_RESET), SERVER(clear(CONTROL, THERE, echo=HERE, payload=b"\x16\x03\x03"))),
        over(CLIENT(PLAIN_RESET), CLIENT(clear(ACK, HERE, echo=THERE)), SERVER(PLAIN_ANSWER)),
    ):
        assert evidence
        assert evidence.confidence is Confidence.CONFIRMED
        assert proven(evidence) == (PLAIN_RESET, True)


@over_both
def test_roles_are_read_from_opcodes(over: Callable[..., Evidence | None]) -> None:
    for evidence in (
        over(SERVER(PLAIN_RESET), CLIENT(PLAIN_ANSWER)),
        over(SERVER(crypt(7, HERE, 1)), CLIENT(crypt(8, THERE, 1, hidden=17)), SERVER(crypt(5, HERE, 2, hidden=13))),
    ):
        assert evidence
        assert evidence.confidence is Confidence.CONFIRMED


@over_both
def test_a_handshake_joined_after_its_resets_is_confirmed_without_proof(over: Callable[..., Evidence | None]) -> None:
    evidence = over(CLIENT(clear(CONTROL, HERE, payload=b"\x16\x03\x01")), SERVER(clear(ACK, THERE, echo=HERE)))
    assert evidence
    assert (evidence.confidence, evidence.proof) == (Confidence.CONFIRMED, None)
    assert evidence.reason == "acknowledgement echoes the other side's session id"


@over_both
def test_one_direction_is_probable_at_most(over: Callable[..., Evidence | None]) -> None:
    control, ack = clear(CONTROL, HERE, payload=b"\x16\x03\x01"), clear(ACK, HERE, echo=THERE)
    for hear_side in (CLIENT, SERVER):
        assert level(over(hear_side(PLAIN_RESET), hear_side(control))) is Confidence.POSSIBLE
        evidence = over(hear_side(PLAIN_RESET), hear_side(ack), hear_side(control), hear_side(ack), hear_side(ack))
        assert evidence
        assert (evidence.confidence, evidence.more) == (Confidence.PROBABLE, True)
        assert evidence.reason == "a reset, then handshake packets with its session id; the other side is not seen"


@over_both
def test_two_directions_that_do_not_link_are_not_one_direction(over: Callable[..., Evidence | None]) -> None:
    mine = [CLIENT(clear(ACK, HERE, echo=ELSEWHERE))] * 3
    assert (
        level(over(CLIENT(PLAIN_RESET), SERVER(clear(SERVER_RESET, THERE, echo=THERE)), *mine)) is Confidence.POSSIBLE
    )


@over_both
def test_one_direction_that_echoes_many_session_ids_is_not_probable(over: Callable[..., Evidence | None]) -> None:
    acks = [CLIENT(clear(ACK, HERE, echo=echo)) for echo in (THERE, ELSEWHERE, THERE)]
    assert level(over(CLIENT(PLAIN_RESET), *acks)) is Confidence.POSSIBLE


def test_packets_that_echo_each_other_from_one_side_link_nothing() -> None:
    assert level(udp(CLIENT(PLAIN_RESET), CLIENT(PLAIN_ANSWER))) is Confidence.POSSIBLE


@over_both
def test_a_reset_that_is_sent_back_links_nothing(over: Callable[..., Evidence | None]) -> None:
    for reset in (PLAIN_RESET, clear(CLIENT_RESET, HERE, hmac=20), crypt(7, HERE, 1)):
        assert level(over(CLIENT(reset), SERVER(reset))) is Confidence.POSSIBLE


@pytest.mark.parametrize("key", range(1, 8))
def test_a_key_id_that_is_not_zero_is_rejected(key: int) -> None:
    assert list(datagrams(OpenVpn(), [CLIENT(clear(CLIENT_RESET, HERE, key=key))])) == [Opinion.NO]
    assert list(stream(OpenVpn(), [framed(CLIENT(clear(CLIENT_RESET, HERE, key=key)))])) == [Opinion.NO]
    answer = clear(SERVER_RESET, THERE, echo=HERE, key=key)
    assert level(udp(CLIENT(PLAIN_RESET), SERVER(answer))) is Confidence.POSSIBLE


@pytest.mark.parametrize("size", [100, 289, 1025])
def test_a_wrapped_key_of_an_impossible_size_is_rejected(size: int) -> None:
    wrapped_key = noise(size - 2) + struct.pack("!H", size)
    assert udp(CLIENT(crypt(10, HERE, 1, wrapped_key=wrapped_key))) is None


def test_packet_ids_beyond_a_handshake_link_nothing() -> None:
    acked = b"\x01" + struct.pack("!I", 1024) + HERE
    for answer in (
        bytes([ACK << 3]) + THERE + acked,
        bytes([SERVER_RESET << 3]) + THERE + acked + bytes(4),
        bytes([CONTROL << 3]) + THERE + b"\x01" + bytes(4) + HERE + struct.pack("!I", 1024) + b"\x16\x03\x03",
    ):
        assert level(udp(CLIENT(PLAIN_RESET), SERVER(answer))) is Confidence.POSSIBLE


@pytest.mark.parametrize("replay", [1, 1023, EARLY + 1, EARLY + 1023])
def test_replay_ids_of_a_handshake_fit(replay: int) -> None:
    assert level(udp(CLIENT(clear(CLIENT_RESET, HERE, hmac=32, replay=replay)))) is Confidence.POSSIBLE
    assert level(udp(CLIENT(crypt(7, HERE, replay)))) is Confidence.POSSIBLE


@pytest.mark.parametrize("replay", [0, 1024, EARLY, EARLY + 1024, 0x0E000001, 0x01000001, 0xFFFFFFFF])
def test_other_replay_ids_are_rejected(replay: int) -> None:
    assert udp(CLIENT(clear(CLIENT_RESET, HERE, hmac=32, replay=replay))) is None
    assert udp(CLIENT(crypt(7, HERE, replay))) is None


@pytest.mark.parametrize(
    "reset",
    [PLAIN_RESET, clear(CLIENT_RESET, HERE, hmac=20), crypt(7, HERE, 1), crypt(10, HERE, 1, wrapped_key=WRAPPED_KEY)],
)
def test_a_reset_one_byte_shorter_or_longer_is_rejected(reset: bytes) -> None:
    for wrong in (reset[:-1], reset + b"\x00"):
        assert list(datagrams(OpenVpn(), [CLIENT(wrong)])) == [Opinion.NO]


def test_packets_of_an_old_session_may_come_between_over_udp_only() -> None:
    old_data = CLIENT(bytes([DATA << 3]) + noise(90))
    assert level(udp(CLIENT(PLAIN_RESET), *[old_data] * 20, SERVER(PLAIN_ANSWER))) is Confidence.CONFIRMED
    assert level(tcp(CLIENT(PLAIN_RESET), old_data, SERVER(PLAIN_ANSWER))) is Confidence.POSSIBLE


def test_it_gives_up_when_no_link_comes() -> None:
    stranger = SERVER(clear(SERVER_RESET, THERE, echo=ELSEWHERE))
    answers = list(datagrams(OpenVpn(), [CLIENT(PLAIN_RESET), *[stranger] * 100]))
    assert answers[-1] is Opinion.NO
    assert len(answers) == 1 + 33


EXCHANGES = {
    "none": (CLIENT(PLAIN_RESET), SERVER(PLAIN_ANSWER)),
    "tls-auth": (
        CLIENT(clear(CLIENT_RESET, HERE, hmac=20)),
        SERVER(clear(SERVER_RESET, THERE, echo=HERE, hmac=20)),
    ),
    "tls-crypt": (
        CLIENT(crypt(7, HERE, 1)),
        SERVER(crypt(8, THERE, 1, hidden=17)),
        CLIENT(crypt(5, HERE, 2, hidden=13)),
    ),
    "unlinked": (CLIENT(PLAIN_RESET), SERVER(clear(SERVER_RESET, THERE, echo=ELSEWHERE))),
    "broken": (CLIENT(PLAIN_RESET), CLIENT(bytes([DATA << 3]) + noise(90)), SERVER(PLAIN_ANSWER)),
}


@pytest.mark.parametrize("name", EXCHANGES)
@given(segment=st.integers(1, 120))
def test_tcp_segments_make_no_difference(name: str, segment: int) -> None:
    whole, cut = tcp(*EXCHANGES[name], segment=1 << 16), tcp(*EXCHANGES[name], segment=segment)
    assert whole
    assert cut
    assert (cut.confidence, cut.reason, cut.facts, cut.proof) == (
        whole.confidence,
        whole.reason,
        whole.facts,
        whole.proof,
    )


def test_a_reset_and_a_breach_in_one_segment_end_it_as_they_do_in_two() -> None:
    reset = framed(CLIENT(PLAIN_RESET))[1]
    together = list(stream(OpenVpn(), [CLIENT(reset + b"GET / HTTP/1.1")]))
    apart = list(stream(OpenVpn(), [CLIENT(reset), CLIENT(b"GET / HTTP/1.1")]))
    assert [level(last_evidence(answers)) for answers in (together, apart)] == [Confidence.POSSIBLE] * 2
    assert isinstance(together[0], Evidence)
    assert not together[0].more
    assert apart[1] is Opinion.NO


@over_both
def test_session_ids_of_zeros_or_small_numbers_are_another_protocol(over: Callable[..., Evidence | None]) -> None:
    for session in (bytes(8), struct.pack("!Q", 0x01020000)):
        reset = bytes([CLIENT_RESET << 3]) + session + bytes(5)
        control = bytes([CONTROL << 3]) + session + b"\1" + bytes(4) + session + bytes(14)
        assert over(CLIENT(reset), SERVER(control)) is None


def test_two_packets_in_one_segment_are_both_read() -> None:
    ack, control = clear(ACK, HERE, echo=THERE), clear(CONTROL, HERE, payload=b"\x16\x03\x01")
    both = framed(CLIENT(ack))[1] + framed(CLIENT(control))[1]
    answers = stream(OpenVpn(), [CLIENT(framed(CLIENT(PLAIN_RESET))[1] + both)])
    assert level(last_evidence(answers)) is Confidence.PROBABLE


def test_a_stream_joined_at_a_packet_boundary_may_still_show_the_link() -> None:
    messages = [framed(message) for message in EXCHANGES["none"]]
    assert level(last_evidence(stream(OpenVpn(), messages, midstream=True))) is Confidence.CONFIRMED


def test_a_stream_joined_inside_a_packet_is_rejected() -> None:
    rest = framed(CLIENT(clear(CONTROL, HERE, payload=noise(900))))[1][40:]
    assert list(stream(OpenVpn(), [CLIENT(rest)], midstream=True)) == [Opinion.NO]


def test_a_stream_that_reaches_the_limit_is_given_up() -> None:
    _, reset = framed(CLIENT(PLAIN_RESET))
    _, control = framed(CLIENT(clear(CONTROL, HERE, payload=noise(1_900))))
    assert len(reset + 8 * control) < STREAM_LIMIT < len(reset + 9 * control)
    answers = list(stream(OpenVpn(), [CLIENT(reset + 9 * control)], segment=STREAM_LIMIT))
    assert answers[-1] is Opinion.NO or not last_evidence(answers[-1:]).more


def test_a_stream_of_nothing_but_resets_is_given_up() -> None:
    _, reset = framed(CLIENT(PLAIN_RESET))
    answers = list(stream(OpenVpn(), [CLIENT(reset * 100)], segment=len(reset)))
    assert answers[-1] is Opinion.NO
    assert len(answers) < 100
    assert level(last_evidence(answers)) is Confidence.POSSIBLE


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("stun", b"\x00\x01\x00\x00\x21\x12\xa4\x42" + noise(12)),
        ("dtls hello", b"\x16\xfe\xfd" + bytes(8) + b"\x00\x36\x01" + noise(53)),
        ("dtls data", b"\x17\xfe\xfd\x00\x01" + bytes(6) + b"\x00\x30" + noise(48)),
        ("quic long header", b"\xc3\x00\x00\x00\x01\x08" + noise(1194)),
        ("quic short header", b"\x40" + noise(1199)),
        ("quic short header, size of a server reset", b"\x40" + noise(25)),
        ("gtp-u", b"\x30\xff\x00\x24" + b"\x00\x00\x00\x01" + noise(36)),
        ("gtp-u with sequence", b"\x32\xff\x00\x28" + b"\x00\x00\x00\x01" + noise(40)),
        ("vxlan", b"\x08\x00\x00\x00\x00\x00\x7b\x00" + noise(60)),
        ("utp syn", b"\x41\x00" + noise(18)),
        ("utp data", b"\x01\x00" + noise(400)),
        ("rtp", b"\x80\x60" + noise(170)),
        ("rtcp", b"\x80\xc8\x00\x06" + noise(24)),
        ("dns query with id 0x3812", b"\x38\x12\x01\x00\x00\x01" + bytes(6) + b"\x01a\x03org\x00\x00\x01\x00\x01"),
        ("dns reply with id 0x4012", b"\x40\x12\x81\x80\x00\x01\x00\x01" + bytes(4) + b"\x01a\x00" + noise(20)),
        ("wireguard", b"\x01\x00\x00\x00" + noise(144)),
        ("ike", noise(8) + bytes(8) + b"\x21\x20\x22\x08" + bytes(4) + noise(400)),
        ("l2tp", b"\xc8\x02\x00\x14" + bytes(16)),
        ("text beginning with 8", b"8 bottles of beer on the wall, 8 bottles of beer."),
        ("zeros behind a client reset's first byte", b"\x38" + bytes(53)),
        ("ntp", b"\x23\x00\x06\xec" + noise(44)),
    ],
)  # fmt: skip
def test_first_packet_of_another_protocol_is_rejected_at_once(name: str, first: bytes) -> None:
    for from_client in (True, False):
        assert list(datagrams(OpenVpn(), [(from_client, first)])) == [Opinion.NO], name


@pytest.mark.parametrize(
    "first",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x05\x01\x00",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
        b"\x00\x1d\x2b\x67\x01\x00\x00\x01",
        b"\x00\x0d\x38",
        b"\xff\xff\x38",
    ],
    ids=["tls", "http", "ssh", "socks5", "rdp", "dns", "too short for a packet", "too long for a handshake"],
)
def test_first_bytes_of_another_stream_are_rejected_at_once(first: bytes) -> None:
    for from_client in (True, False):
        assert list(stream(OpenVpn(), [(from_client, first)])) == [Opinion.NO]


messages_of_exchanges = st.sampled_from([data for exchange in EXCHANGES.values() for _, data in exchange])
damaged = st.builds(
    lambda data, at, byte, end: (data[:at] + bytes([byte]) + data[at + 1 :])[:end],
    messages_of_exchanges,
    st.integers(0, 120),
    st.integers(0, 255),
    st.integers(1, 120),
)
anything = st.one_of(st.binary(min_size=1, max_size=200), damaged, messages_of_exchanges)


@given(st.lists(st.tuples(st.booleans(), anything), max_size=12), st.integers(1, 200))
def test_any_bytes_get_an_answer(messages: list[Message], segment: int) -> None:
    for answers in (
        datagrams(OpenVpn(), messages),
        stream(OpenVpn(), messages, segment=segment),
        stream(OpenVpn(), [framed(message) for message in messages], segment=segment),
    ):
        assert all(isinstance(answer, (Evidence, Opinion)) for answer in answers)


@given(st.lists(st.tuples(st.booleans(), anything), max_size=12), st.integers(1, 200))
def test_any_stream_is_judged_alike_however_it_is_cut(messages: list[Message], segment: int) -> None:
    packets = [framed(message) for message in messages]
    whole, cut = (last_evidence(stream(OpenVpn(), packets, segment=size)) for size in (1 << 16, segment))
    assert (whole is None) == (cut is None)
    if whole and cut:
        assert (whole.confidence, whole.reason, whole.proof) == (cut.confidence, cut.reason, cut.proof)


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=200)), max_size=12))
def test_random_bytes_are_never_openvpn(messages: list[Message]) -> None:
    assert udp(*messages) is None
    assert tcp(*messages) is None


@pytest.mark.parametrize("name", ["none", "tls-auth", "tls-crypt"])
def test_every_truncation_of_the_last_packet_links_nothing(name: str) -> None:
    *first, (from_client, last) = EXCHANGES[name]
    for end in range(1, len(last)):
        assert level(udp(*first, (from_client, last[:end]))) is not Confidence.CONFIRMED
