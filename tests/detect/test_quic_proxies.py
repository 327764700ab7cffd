"""Proxies over QUIC: what their hello asks for, and the MTU search that gives a borrowed hello away."""

import pytest

from middlebox.detect.client_hello import ClientHello, parse_client_hello
from middlebox.detect.quic_hello import QuicHello, transport_parameters
from middlebox.detect.quic_proxies import QuicProxies
from middlebox.evidence import Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, datagrams, last_evidence
from tests.detect.hellos import client_hello, sized
from tests.detect.initials import RFC_CLIENT_FRAMES, crypto, initial, long_header
from tests.detect.samples_covered import CHROME, GO_HTTP3, HYSTERIA, QUIC_ANSWER, TUIC, quic_hello


def judge(*messages: Message) -> Evidence | None:
    return last_evidence(datagrams(QuicProxies(), messages))


@pytest.mark.parametrize(
    ("name", "protocols", "parameters", "expected"),
    [
        ("Hysteria 2", (b"h3",), HYSTERIA, "hysteria"),
        ("Hysteria 1 by its name", (b"hysteria",), GO_HTTP3, "hysteria"),
        ("TUIC", (b"h3",), TUIC, "tuic"),
        ("other windows, but datagrams", (b"h3",), GO_HTTP3 | {"p0x20": 16383}, "quic-tunnel"),
        ("V2Ray", (b"h2", b"http/1.1"), GO_HTTP3, "quic-tunnel"),
        ("HTTP/3 in Go", (b"h3",), GO_HTTP3, None),
        ("HTTP/3 and the list of TLS", (b"h3", b"h2"), GO_HTTP3, None),
        ("Hysteria's windows in another library", (b"h3",), HYSTERIA | {"p0x0b": 25}, None),
        ("Chrome", (b"h3",), CHROME, None),
        ("DNS over QUIC", (b"doq",), GO_HTTP3, None),
        ("no application protocol", (), GO_HTTP3, None),
    ],
)
def test_what_the_hello_asks_for(
    name: str, protocols: tuple[bytes, ...], parameters: dict[str, int], expected: str | None
) -> None:
    evidence = judge(CLIENT(quic_hello(*protocols, **parameters)), QUIC_ANSWER)
    assert (evidence.protocol if evidence else None) == expected, name


def search(*sizes: int, first_answer: int = 1280) -> tuple[Message, ...]:
    """Chrome's hello in 1250 bytes, the server's first datagram, then the client's datagrams."""
    first = quic_hello(b"h3", **CHROME)
    return (
        CLIENT(first.ljust(1250, b"\0")),
        SERVER(long_header(2, b"client", b"server").ljust(first_answer, b"\0")),
        *((CLIENT if size > 0 else SERVER)(b"\x40" + bytes(abs(size) - 1)) for size in sizes),
    )


def test_chromes_hello_with_the_steps_of_quic_go() -> None:
    assert judge(*search(69, -300, 1351, -31, 370, 1401)) is not None
    assert judge(*search(69, -1366, 1351)) is not None
    assert judge(*search(69, -300, 1351, -31, 370)) is None


@pytest.mark.parametrize(
    ("why", "messages"),
    [
        ("another step", search(69, -300, 1350, 1400)),
        ("steps out of order", search(1401, 1351)),
        ("only the server searches", search(69, -1366, -1409, -1430)),
        ("a server that is not quic-go", search(69, 1351, 1401, first_answer=1200)),
    ],
)
def test_no_such_search(why: str, messages: tuple[Message, ...]) -> None:
    assert judge(*messages) is None, why


def test_the_search_is_not_waited_for_forever() -> None:
    answers = list(datagrams(QuicProxies(), search(*[69, -300] * 20)))
    assert answers[-1] is Opinion.NO
    assert len(answers) <= 32


def test_a_hello_in_two_datagrams_is_put_together() -> None:
    whole = RFC_CLIENT_FRAMES[4:][: int.from_bytes(RFC_CLIENT_FRAMES[2:4]) & 0x3FFF]
    reader = QuicHello()
    assert reader.read(initial(crypto(100, whole[100:]).ljust(1162, b"\0"))) is None
    hello = reader.read(initial(crypto(0, whole[:100]).ljust(1162, b"\0"), number=3))
    assert hello
    assert hello.sni == "example.com"


def test_a_hello_that_never_comes_ends() -> None:
    reader = QuicHello()
    for _ in range(6):
        assert reader.read(b"\xc0" + bytes(1200)) is None
    assert reader.is_over


def hello_with(content: bytes) -> ClientHello:
    found = parse_client_hello(client_hello((57, content)))
    assert isinstance(found, ClientHello)
    return found


def test_transport_parameters_that_are_cut_are_none() -> None:
    whole = b"\x20" + sized(b"\x7f\xff", 1) + b"\x0f" + sized(b"", 1)
    assert transport_parameters(hello_with(whole)) == {0x20: 0x3FFF, 0x0F: None}
    for end in (1, 2, 3):
        assert transport_parameters(hello_with(whole[:end])) == {}
    assert transport_parameters(hello_with(b"\xff")) == {}
