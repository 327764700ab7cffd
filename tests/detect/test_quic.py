"""QUIC: real connections of aioquic, ClientHellos in pieces, Retry, Version Negotiation, and ways to hide."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import encode_quic_retry
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.quic import MAX_ATTEMPTS, MAX_CRYPTO, MAX_DATAGRAMS, MAX_JUNK, Quic
from middlebox.detect.quic_packet import SERVER_LABEL, VERSIONS, long_packets
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.hellos import alpn, certificate, client_hello, server_hello, server_name, supported_versions
from tests.detect.initials import (
    RFC_CLIENT_FRAMES,
    RFC_CONNECTION_ID,
    RFC_SERVER_INITIAL,
    V1,
    V2,
    crypto,
    initial,
    long_header,
    version_negotiation,
)

HELLO = client_hello(server_name(b"WWW.Example.org"), alpn(b"h3"), supported_versions(0x0304), (0x39, bytes(40)))
FACTS = {
    "quic.version": "1",
    "quic.sni": "www.example.org",
    "quic.client_alpns": ["h3"],
    "quic.ja4": "q13d0304h3_40b44b994229_c8abead0ac40",
    "quic.ech": False,
}
CLIENT_ID = b"client's"
SERVER_ID = b"server's"
FIRST = initial(crypto(0, HELLO).ljust(1162, b"\0"), source=CLIENT_ID)
ANSWER = initial(
    crypto(0, server_hello()), CLIENT_ID, SERVER_ID, key_id=RFC_CONNECTION_ID, label=SERVER_LABEL, number=0
)
SHORT_HEADER = b"\x41" + SERVER_ID + bytes(50)
GOOGLE_HELLO = b"CHLO\2\0\0\0PAD\0\4\0\0\0SNI\0\x13\0\0\0----Www.Example.org"
GOOGLE_ID = b"12345678"


def answers(*messages: Message) -> list[Answer]:
    return list(datagrams(Quic(), messages))


def finding(*messages: Message) -> Evidence:
    evidence = last_evidence(answers(*messages))
    assert evidence is not None
    return evidence


def summary(evidence: Evidence) -> tuple[Confidence, bool, object]:
    return evidence.confidence, evidence.more, evidence.facts.get("quic.sni")


def client_side(**settings: object) -> QuicConnection:
    options = {"server_name": "www.example.org", "alpn_protocols": ["h3"], "verify_mode": 0} | settings
    connection = QuicConnection(configuration=QuicConfiguration(is_client=True, **options))
    connection.connect(("192.0.2.1", 443), now=0)
    return connection


def converse(client: QuicConnection, flights: int = 3, **settings: object) -> list[Message]:
    """What a client and a server of aioquic say to each other in their first flights."""
    options = {"alpn_protocols": ["h3"], "certificate": certificate()[0], "private_key": certificate()[1]} | settings
    said: list[Message] = []
    server: QuicConnection | None = None
    for flight in range(flights):
        for data, _ in client.datagrams_to_send(now=flight):
            said.append(CLIENT(data))
            if server is None:
                original_id = next(long_packets(data)).destination_id
                configuration = QuicConfiguration(is_client=False, **options)
                server = QuicConnection(configuration=configuration, original_destination_connection_id=original_id)
            server.receive_datagram(data, ("192.0.2.2", 1), now=flight)
        assert server is not None
        for data, _ in server.datagrams_to_send(now=flight):
            said.append(SERVER(data))
            client.receive_datagram(data, ("192.0.2.1", 443), now=flight)
    return said


@pytest.mark.parametrize(("version", "name"), [(V1, "1"), (V2, "2")])
def test_real_connection_is_confirmed_by_the_first_answer(version: int, name: str) -> None:
    said = converse(client_side(original_version=version, supported_versions=[version]), supported_versions=[version])
    given = answers(*said)
    offered, confirmed = given[0], given[-1]
    assert isinstance(offered, Evidence)
    assert (offered.confidence, offered.more) == (Confidence.PROBABLE, True)
    assert offered.reason == "an Initial packet opens under the key of its connection ID"
    assert offered.facts["quic.version"] == name
    assert offered.facts["quic.sni"] == "www.example.org"
    assert offered.facts["quic.client_alpns"] == ["h3"]
    assert str(offered.facts["quic.ja4"]).startswith("q13d03")
    assert isinstance(confirmed, Evidence)
    assert (confirmed.confidence, confirmed.more) == (Confidence.CONFIRMED, False)
    assert confirmed.reason == "a long header is addressed to the other side's connection ID"
    assert confirmed.facts == offered.facts
    assert len(given) == 1 + [from_client for from_client, _ in said].index(False)


def test_server_that_answers_in_another_version_names_that_one() -> None:
    said = converse(client_side(original_version=V1, supported_versions=[V2, V1]), supported_versions=[V2, V1])
    assert next(long_packets(next(data for from_client, data in said if not from_client))).version == V2
    assert finding(*said[:1]).facts["quic.version"] == "1"
    evidence = finding(*said)
    assert (summary(evidence), evidence.facts["quic.version"]) == (
        (Confidence.CONFIRMED, False, "www.example.org"),
        "2",
    )


def test_client_with_an_empty_connection_id_is_confirmed_by_an_answer_that_opens() -> None:
    first = initial(RFC_CLIENT_FRAMES)
    evidence = finding(CLIENT(first), SERVER(RFC_SERVER_INITIAL))
    assert summary(evidence) == (Confidence.CONFIRMED, False, "example.com")
    assert evidence.reason == "an Initial packet opens under the key for answers to this connection"
    stranger = initial(crypto(0, server_hello()), b"", SERVER_ID, key_id=b"other ID", label=SERVER_LABEL)
    assert finding(CLIENT(first), SERVER(stranger)).confidence is Confidence.PROBABLE


def test_answer_to_another_connection_id_does_not_confirm() -> None:
    stranger = initial(crypto(0, server_hello()), b"stranger", SERVER_ID, key_id=RFC_CONNECTION_ID, label=SERVER_LABEL)
    evidence = finding(CLIENT(FIRST), SERVER(stranger), SERVER(SHORT_HEADER))
    assert (summary(evidence), evidence.facts) == ((Confidence.PROBABLE, True, "www.example.org"), FACTS)


def test_real_client_hello_over_several_datagrams_is_put_together() -> None:
    said = converse(client_side(alpn_protocols=[f"protocol-{number:03}" for number in range(120)]), flights=1)
    from_client = [message for message in said if message[0]]
    assert len(from_client) > 1
    first, *_, last = [answer for answer in answers(*from_client) if isinstance(answer, Evidence)]
    assert first.facts == {"quic.version": "1"}
    assert last.facts["quic.sni"] == "www.example.org"
    assert len(last.facts["quic.client_alpns"]) == 120  # type: ignore[arg-type]


def pieces(cuts: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(HELLO), *[cut % len(HELLO) for cut in cuts]})
    return [crypto(start, HELLO[start:end]) for start, end in pairwise(edges)]


@given(st.data())
def test_shuffled_crypto_frames_over_several_datagrams_are_put_together(data: st.DataObject) -> None:
    frames = data.draw(st.permutations(pieces(data.draw(st.lists(st.integers(0, 500), max_size=12)))))
    filler = data.draw(st.sampled_from([b"", b"\1", b"\0\0\0", b"\2\0\0\0\0", frames[0]]))
    per_datagram = data.draw(st.integers(1, len(frames)))
    groups = [frames[start : start + per_datagram] for start in range(0, len(frames), per_datagram)]
    sent = [
        CLIENT(initial(filler.join([b"\0\0\0\0", *group]), source=CLIENT_ID, number=number))
        for number, group in enumerate(groups)
    ]
    given = answers(*sent)
    evidence = given[-1]
    assert isinstance(evidence, Evidence)
    assert evidence.facts == FACTS
    assert given[1:-1] == [Opinion.MORE] * (len(given) - 2)


def test_second_half_of_the_hello_may_be_sent_to_the_servers_connection_id() -> None:
    halves = [crypto(0, HELLO[:60]), crypto(60, HELLO[60:])]
    first = initial(halves[0], source=CLIENT_ID)
    second = initial(halves[1], SERVER_ID, CLIENT_ID, key_id=RFC_CONNECTION_ID, number=3)
    given = answers(CLIENT(first), SERVER(ANSWER), CLIENT(second))
    assert [answer.facts for answer in given if isinstance(answer, Evidence)] == [
        {"quic.version": "1"},
        {"quic.version": "1"},
        FACTS,
    ]
    assert [answer.confidence for answer in given if isinstance(answer, Evidence)][1:] == [Confidence.CONFIRMED] * 2


def test_hello_is_found_behind_a_coalesced_packet_and_behind_0_rtt() -> None:
    early = long_header(1, RFC_CONNECTION_ID, CLIENT_ID)
    assert finding(CLIENT(early + FIRST)).facts == FACTS
    given = answers(CLIENT(early), CLIENT(FIRST), SERVER(ANSWER))
    assert [answer.confidence for answer in given if isinstance(answer, Evidence)] == [
        Confidence.POSSIBLE,
        Confidence.PROBABLE,
        Confidence.CONFIRMED,
    ]


def test_initial_that_does_not_open_is_possible() -> None:
    evidence = finding(CLIENT(FIRST[:-1] + b"\0"))
    assert (evidence.confidence, evidence.more, evidence.facts) == (Confidence.POSSIBLE, True, {"quic.version": "1"})
    assert evidence.reason == "a long header of a known QUIC version"


def test_real_client_is_followed_through_retry() -> None:
    client = client_side()
    first = client.datagrams_to_send(now=0)[0][0]
    packet = next(long_packets(first))
    retry = encode_quic_retry(V1, SERVER_ID, packet.source_id, packet.destination_id, b"token")
    client.receive_datagram(retry, ("192.0.2.1", 443), now=1)
    second = client.datagrams_to_send(now=1)[0][0]
    assert next(long_packets(second)).destination_id == SERVER_ID
    assert summary(finding(CLIENT(first), SERVER(retry))) == (Confidence.CONFIRMED, False, "www.example.org")
    # The rest of a hello, and a client whose connection ID says nothing, need the keys after the Retry.
    start, rest = initial(crypto(0, HELLO[:60]), source=b""), crypto(60, HELLO[60:])
    retry = long_header(3, b"", SERVER_ID)
    again = [initial(frames, SERVER_ID, b"", token=b"t") for frames in (crypto(0, HELLO[:60]), rest)]
    answer = initial(crypto(0, server_hello()), b"", b"third ID", key_id=SERVER_ID, label=SERVER_LABEL)
    evidence = finding(CLIENT(start), SERVER(retry), CLIENT(again[0]), CLIENT(again[1]), SERVER(answer))
    assert summary(evidence) == (Confidence.CONFIRMED, False, "www.example.org")


def test_client_is_followed_through_version_negotiation() -> None:
    unknown = long_header(0, RFC_CONNECTION_ID, CLIENT_ID, version=0x1A2A3A4A, size=1200)
    negotiation = version_negotiation(CLIENT_ID, RFC_CONNECTION_ID, V1)
    given = answers(CLIENT(unknown), SERVER(negotiation), CLIENT(FIRST))
    assert given[0] is Opinion.MORE
    assert isinstance(given[1], Evidence)
    assert (given[1].confidence, given[1].more) == (Confidence.CONFIRMED, True)
    assert given[1].reason == "a Version Negotiation repeats both connection IDs"
    assert given[1].facts == {"quic.version": "1a2a3a4a"}
    assert isinstance(given[2], Evidence)
    assert (summary(given[2]), given[2].facts) == ((Confidence.CONFIRMED, False, "www.example.org"), FACTS)


@pytest.mark.parametrize(
    ("destination", "source", "repeated"),
    [
        pytest.param(RFC_CONNECTION_ID, CLIENT_ID, (CLIENT_ID, b"whatever"), id="other source"),
        pytest.param(RFC_CONNECTION_ID, CLIENT_ID, (b"whatever", RFC_CONNECTION_ID), id="other destination"),
        pytest.param(b"abc", CLIENT_ID, (CLIENT_ID, b"abc"), id="too short to tell"),
    ],
)
def test_version_negotiation_must_repeat_both_connection_ids(
    destination: bytes, source: bytes, repeated: tuple[bytes, bytes]
) -> None:
    unknown = long_header(0, destination, source, version=0x1A2A3A4A, size=1200)
    assert answers(CLIENT(unknown), SERVER(version_negotiation(*repeated, V1))) == [Opinion.MORE] * 2


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: VERSIONS[version][0])
def test_every_version_is_named(version: int) -> None:
    sent = initial(crypto(0, HELLO), source=CLIENT_ID, version=version)
    assert finding(CLIENT(sent)).facts == FACTS | {"quic.version": VERSIONS[version][0]}


@pytest.mark.parametrize(
    ("version", "asked", "answered"),
    [
        ("Q043", b"\x0d" + GOOGLE_ID + b"Q043\1" + bytes(16), b"\x08" + GOOGLE_ID + bytes(30)),
        ("Q024", b"\x09" + GOOGLE_ID + b"Q024\1" + bytes(16), b"\x0c" + GOOGLE_ID + bytes(30)),
        ("Q046", b"\xc3Q046\x50" + GOOGLE_ID + bytes(20), b"\xc3Q046\x05" + GOOGLE_ID + bytes(30)),
    ],
)
def test_google_quic_in_clear_is_confirmed_by_its_connection_id(version: str, asked: bytes, answered: bytes) -> None:
    facts = {"quic.version": version, "quic.sni": "www.example.org"}
    evidence = finding(CLIENT(asked + GOOGLE_HELLO))
    assert (evidence.confidence, evidence.facts) == (Confidence.PROBABLE, facts)
    assert evidence.reason == "a Google QUIC header and a CHLO message"
    evidence = finding(CLIENT(asked + GOOGLE_HELLO), SERVER(answered))
    assert (evidence.confidence, evidence.more, evidence.facts) == (Confidence.CONFIRMED, False, facts)
    assert finding(CLIENT(asked + GOOGLE_HELLO), SERVER(b"\x08" + bytes(40))).confidence is Confidence.PROBABLE
    assert finding(CLIENT(asked + b"no message")).confidence is Confidence.POSSIBLE


def test_google_hello_lets_no_control_characters_into_events() -> None:
    asked = b"\xc3Q046\x50" + GOOGLE_ID + bytes(20) + GOOGLE_HELLO.replace(b"Www.", b"W\x1b\nw")
    assert finding(CLIENT(asked)).facts["quic.sni"] == "w\\x1b\\x0awexample.org"


def test_google_hello_in_an_initial_names_the_server() -> None:
    sent = initial(b"\x08\0" + bytes([len(GOOGLE_HELLO)]) + GOOGLE_HELLO, version=int.from_bytes(b"Q050"))
    assert finding(CLIENT(sent)).facts == {"quic.version": "Q050", "quic.sni": "www.example.org"}


def test_junk_before_the_handshake_does_not_hide_it() -> None:
    junk = [CLIENT(b"\xc3" + bytes(range(60))), CLIENT(b"\0junk"), CLIENT(long_header(0, b"decoy", b"", size=40)[:-1])]
    assert len(junk) == MAX_JUNK - 1
    assert summary(finding(*junk, CLIENT(FIRST), SERVER(ANSWER))) == (Confidence.CONFIRMED, False, "www.example.org")


@pytest.mark.parametrize("decoy_first", [True, False])
def test_hello_in_a_datagram_that_servers_discard_does_not_hide_the_real_one(decoy_first: bool) -> None:
    decoy, real = (
        initial(crypto(0, client_hello(server_name(name))) + bytes(room))
        for name, room in ((b"decoy.example", 0), (b"real.example", 1100))
    )
    assert len(decoy) < 1200 <= len(real)
    evidence = last_evidence(answers(*map(CLIENT, (decoy, real) if decoy_first else (real, decoy))))
    assert evidence
    assert evidence.facts["quic.sni"] == "real.example"
    alone = last_evidence(answers(CLIENT(decoy)))
    assert alone
    assert alone.facts["quic.sni"] == "decoy.example"


def test_decoy_connections_do_not_hide_the_one_that_is_answered() -> None:
    decoys = [
        CLIENT(initial(crypto(0, client_hello(server_name(b"decoy.example"))), b"decoy %d!" % number, b"decoy's!"))
        for number in range(MAX_ATTEMPTS + 2)
    ]
    evidence = finding(*decoys, CLIENT(FIRST), SERVER(ANSWER))
    assert summary(evidence) == (Confidence.CONFIRMED, False, "www.example.org")
    evidence = finding(CLIENT(FIRST), *decoys[: MAX_ATTEMPTS - 1], SERVER(ANSWER))
    assert summary(evidence) == (Confidence.CONFIRMED, False, "www.example.org")
    assert summary(finding(*decoys[:2])) == (Confidence.PROBABLE, True, "decoy.example")


def test_noise_from_the_other_side_does_not_push_the_connection_out() -> None:
    noise = [SERVER(long_header(2, b"stranger", b"noise %d!" % number)) for number in range(MAX_ATTEMPTS + 1)]
    evidence = finding(CLIENT(FIRST), *noise, SERVER(ANSWER))
    assert summary(evidence) == (Confidence.CONFIRMED, False, "www.example.org")


def test_capture_with_both_sides_swapped_is_read_as_well() -> None:
    assert summary(finding(SERVER(FIRST), CLIENT(ANSWER))) == (Confidence.CONFIRMED, False, "www.example.org")


def test_both_sides_seen_only_after_the_initials_are_linked_by_connection_ids() -> None:
    said = [CLIENT(long_header(2, SERVER_ID, CLIENT_ID)), SERVER(long_header(2, CLIENT_ID, SERVER_ID))]
    given = [answer for answer in answers(*said) if isinstance(answer, Evidence)]
    assert [answer.confidence for answer in given] == [Confidence.POSSIBLE, Confidence.CONFIRMED]
    assert given[-1].facts == {"quic.version": "1"}


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(SHORT_HEADER, id="short header"),
        pytest.param(b"\x16\xfe\xfd" + bytes(60), id="dtls"),
        pytest.param(b"\x80\0\0\1" + bytes(168), id="rtp"),
        pytest.param(b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12), id="stun"),
        pytest.param(version_negotiation(CLIENT_ID, SERVER_ID, V1), id="version negotiation nobody asked for"),
        pytest.param(b"\x0d" + GOOGLE_ID + b"Q999" + bytes(30), id="unknown google version"),
    ],
)
def test_other_datagrams_are_given_up(datagram: bytes) -> None:
    assert answers(*[CLIENT(datagram)] * 9) == [Opinion.MORE] * (MAX_JUNK - 1) + [Opinion.NO]


def test_hello_that_never_ends_is_given_up_with_what_is_known() -> None:
    endless = [
        CLIENT(initial(crypto(number * 9, b"\1\xff\xff\xff\3\3" + bytes(50)), source=CLIENT_ID)) for number in range(99)
    ]
    given = answers(*endless)
    assert len(given) == MAX_DATAGRAMS
    assert given[1:] == [Opinion.MORE] * (MAX_DATAGRAMS - 2) + [Opinion.NO]
    evidence = given[0]
    assert isinstance(evidence, Evidence)
    assert (evidence.confidence, evidence.facts) == (Confidence.PROBABLE, {"quic.version": "1"})


def test_crypto_frames_far_ahead_are_not_kept() -> None:
    detector = Quic()
    list(datagrams(detector, [CLIENT(initial(crypto(MAX_CRYPTO - 3, b"late") + crypto(9, b"\1"), source=CLIENT_ID))]))
    (attempt,) = detector._attempts
    assert len(attempt._crypto) == 10


def test_what_is_no_hello_inside_an_initial_ends_the_wait_for_one() -> None:
    evidence = finding(CLIENT(initial(crypto(0, b"something else"), source=CLIENT_ID)), SERVER(ANSWER))
    assert (evidence.confidence, evidence.more, evidence.facts) == (Confidence.CONFIRMED, False, {"quic.version": "1"})


def test_flows_learn_nothing_from_each_other() -> None:
    asking, answering = Quic(), Quic()
    list(datagrams(asking, [CLIENT(FIRST)]))
    evidence = last_evidence(datagrams(answering, [SERVER(ANSWER)]))
    assert evidence is not None
    assert evidence.confidence is Confidence.POSSIBLE


MESSAGES = st.tuples(
    st.booleans(),
    st.one_of(
        st.binary(min_size=1, max_size=60),
        st.builds(
            lambda whole, at, byte, end: (whole[:at] + bytes([byte]) + whole[at + 1 :])[:end],
            st.sampled_from([FIRST, ANSWER, RFC_SERVER_INITIAL, b"\x0d" + GOOGLE_ID + b"Q043" + GOOGLE_HELLO]),
            st.integers(0, 60),
            st.integers(0, 255),
            st.integers(1, 1200),
        ),
        st.builds(lambda frames: initial(frames + bytes(20), source=CLIENT_ID), st.binary(max_size=60)),
        st.builds(lambda content: b"\xc3Q046\x50" + GOOGLE_ID + b"CHLO" + content, st.binary(max_size=60)),
    ),
)


@given(st.lists(MESSAGES, max_size=8))
def test_any_datagrams_are_an_answer(messages: list[Message]) -> None:
    previous = None
    for answer in answers(*messages):
        assert isinstance(answer, Evidence | Opinion)
        assert answer != previous or isinstance(answer, Opinion)
        previous = answer
