"""ClientHello and ServerHello: what is read, what is refused and where, and JA4 against its published examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.client_hello import (
    ClientHello,
    ServerHello,
    client_facts,
    ja4,
    parse_client_hello,
    parse_server_hello,
    parse_sslv2_client_hello,
)
from middlebox.evidence import Opinion
from tests.detect.hellos import (
    Extension,
    alpn,
    client_hello,
    numbers,
    server_hello,
    server_name,
    signature_algorithms,
    sized,
    supported_versions,
)

# The example of JA4.md: Chrome's lists in the order of the wire, here with GREASE put back in.
CHROME_CIPHERS = [0x3A3A, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8]
CHROME_CIPHERS += [0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035]
CHROME_ALGORITHMS = signature_algorithms(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)
CHROME_EXTENSIONS: list[Extension] = [
    (0xDADA, b""),
    (0x001B, b""),
    server_name(b"example.org"),
    (0x0033, b""),
    alpn(b"h2", b"http/1.1"),
    (0x4469, b""),
    (0x0017, b""),
    (0x002D, b""),
    CHROME_ALGORITHMS,
    (0x0005, b""),
    (0x0023, b""),
    (0x0012, b""),
    supported_versions(0x7A7A, 0x0304, 0x0303),
    (0xFF01, b""),
    (0x000B, b""),
    (0x000A, b""),
    (0x0015, b""),
    (0x1A1A, b"\0"),
]
SSLV2 = bytes.fromhex("8034010301001b0000001000002f0000350000050000040100800700c0030080060040") + bytes(19)


def parsed(message: bytes) -> ClientHello:
    hello = parse_client_hello(message)
    assert isinstance(hello, ClientHello)
    return hello


def test_everything_a_client_offers_is_read() -> None:
    hello = parsed(client_hello(*CHROME_EXTENSIONS, ciphers=CHROME_CIPHERS))
    assert hello.versions == (0x0304, 0x0303)
    assert hello.ciphers == tuple(CHROME_CIPHERS)
    assert hello.sni == "example.org"
    assert hello.alpns == ("h2", "http/1.1")
    assert hello.complete


def test_published_ja4_example() -> None:
    hello = parsed(client_hello(*CHROME_EXTENSIONS, ciphers=CHROME_CIPHERS))
    assert ja4(hello, "t") == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert ja4(hello, "q") == "q13d1516h2_8daaf6152771_e5627efa2ab1"


def test_ja4_does_not_depend_on_the_order_of_extensions_and_ciphers() -> None:
    hello = parsed(client_hello(*CHROME_EXTENSIONS[::-1], ciphers=CHROME_CIPHERS[::-1]))
    assert ja4(hello, "t") == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_published_ja4_example_without_signature_algorithms() -> None:
    extensions = [(kind, b"" if kind == 13 else content) for kind, content in CHROME_EXTENSIONS]
    assert ja4(parsed(client_hello(*extensions)), "t").endswith("_6d807ffa2a79")


def test_ja4_of_an_empty_offer_has_no_hashes() -> None:
    hello = parsed(client_hello(alpn(b"h3"), ciphers=[0x0A0A], version=0x0301))
    assert ja4(hello, "t") == "t10i0001h3_000000000000_000000000000"


def test_ja4_counts_stop_at_two_digits() -> None:
    hello = parsed(client_hello(ciphers=range(1, 151)))
    assert ja4(hello, "t").startswith("t12i990000_")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"h2", "h2"),
        (b"http/1.1", "h1"),
        (b"x", "xx"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ],
)
def test_published_ja4_examples_of_alpn(name: bytes, expected: str) -> None:
    assert ja4(parsed(client_hello(alpn(name))), "t")[8:10] == expected


@pytest.mark.parametrize(
    ("versions", "expected"), [((0x0303, 0x0304), "13"), ((0x0302,), "11"), ((0x0304, 0x7F1C), "00"), ((), "12")]
)
def test_ja4_takes_the_highest_supported_version(versions: tuple[int, ...], expected: str) -> None:
    assert ja4(parsed(client_hello(supported_versions(*versions))), "t")[1:3] == expected


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        (b"WWW.Example.ORG", "www.example.org"),
        (b"example.org.", "example.org"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"b\xfccher.example", "b\\xfccher.example"),
        (b"a\n\x1b[2J\x7f", "a\\x0a\\x1b[2j\\x7f"),
        (b"a" * 255, "a" * 255),
        (b"a" * 256, None),
        (b"", None),
        (b".", None),
    ],
)
def test_server_name_is_lower_case_without_final_dot_and_else_as_on_the_wire(wire: bytes, name: str | None) -> None:
    assert parsed(client_hello(server_name(wire))).sni == name


def test_server_name_with_a_wrong_list_length_is_still_read() -> None:
    assert parsed(client_hello((0, b"\xff\xff" + server_name(b"a.example")[1][2:]))).sni == "a.example"


def test_a_host_name_behind_names_of_another_type_is_found() -> None:
    names = b"\1" + sized(b"other", 2) + b"\0" + sized(b"a.example", 2)
    assert parsed(client_hello((0, sized(names, 2)))).sni == "a.example"


def test_version_of_another_major_number_needs_supported_versions() -> None:
    offered = supported_versions(0x0304)
    assert parsed(client_hello(server_name(b"a.example"), offered, version=0x0404)).sni == "a.example"
    assert parse_client_hello(client_hello(server_name(b"a.example"), version=0x0404)) is Opinion.NO


def test_endless_lists_of_protocols_are_cut() -> None:
    assert len(parsed(client_hello(alpn(*[b"x"] * 5000))).alpns) == 128


def test_no_bytes_are_not_yet_a_hello_of_ssl_2() -> None:
    assert parse_sslv2_client_hello(b"") is Opinion.MORE


def test_a_name_that_is_not_a_host_name_is_no_server_name() -> None:
    assert parsed(client_hello((0, sized(b"\1" + sized(b"a.example", 2), 2)))).sni is None


def test_grease_among_application_protocols_is_left_out() -> None:
    assert parsed(client_hello(alpn(b"\x0a\x0a", b"h3"))).alpns == ("h3",)


def test_facts_name_only_what_is_there() -> None:
    facts = client_facts(parsed(client_hello()), "tls", "t")
    assert facts == {"tls.ja4": "t12i030000_40b44b994229_000000000000", "tls.ech": False}
    assert client_facts(parsed(client_hello((0xFE0D, b"noise"))), "quic", "q")["quic.ech"] is True


def test_every_prefix_asks_for_more_and_what_follows_is_ignored() -> None:
    message = client_hello(*CHROME_EXTENSIONS, ciphers=CHROME_CIPHERS)
    for length in range(len(message)):
        assert parse_client_hello(message[:length]) is Opinion.MORE, length
    assert parse_client_hello(message + b"\x0b\0\0\1\0") == parse_client_hello(message)


@pytest.mark.parametrize(
    ("offset", "byte", "refused_after"),
    [
        pytest.param(0, 2, 1, id="not a ClientHello"),
        pytest.param(38, 33, 39, id="session id longer than 32"),
        pytest.param(40, 5, 41, id="ciphers of odd length"),
        pytest.param(40, 0, 41, id="no ciphers"),
        pytest.param(39, 9, 41, id="ciphers longer than the message"),
        pytest.param(47, 0, 48, id="no compression method"),
        pytest.param(50, 9, 51, id="extensions end before the message"),
        pytest.param(50, 99, 51, id="extensions end after the message"),
    ],
)
def test_a_wrong_length_is_refused_at_once(offset: int, byte: int, refused_after: int) -> None:
    message = bytearray(client_hello(server_name(b"example.org")))
    message[offset] = byte
    assert parse_client_hello(bytes(message[: refused_after - 1])) is Opinion.MORE
    assert parse_client_hello(bytes(message[:refused_after])) is Opinion.NO


def test_an_extension_that_leaves_its_block_is_refused() -> None:
    message = bytearray(client_hello(server_name(b"example.org")))
    message[54] += 1
    assert parse_client_hello(bytes(message)) is Opinion.NO


def test_a_cut_hello_shows_its_first_extensions_and_no_ja4() -> None:
    message = client_hello(server_name(b"example.org"), (21, bytes(20000)))
    hello = parse_client_hello(message[:8000], cut=True)
    assert isinstance(hello, ClientHello)
    assert client_facts(hello, "tls", "t") == {"tls.sni": "example.org", "tls.ech": False}
    assert parse_client_hello(message[:45], cut=True) is Opinion.MORE


def test_server_hello_tells_version_cipher_and_protocol() -> None:
    assert parse_server_hello(server_hello(alpn(b"h2"), cipher=0xC02F)) == ServerHello(0x0303, 0xC02F, ("h2",))
    assert parse_server_hello(server_hello((43, numbers(0x0304)))) == ServerHello(0x0304, 0x1301, ())
    assert parse_server_hello(server_hello(version=0x0300)) == ServerHello(0x0300, 0x1301, ())


def test_server_hello_of_an_old_draft_has_no_session_id() -> None:
    message = b"\2" + sized(numbers(0x7F12) + bytes(32) + numbers(0x1301) + sized(b"", 2), 3)
    assert parse_server_hello(message) == ServerHello(0x7F12, 0x1301, ())


def test_every_prefix_of_a_server_hello_asks_for_more() -> None:
    message = server_hello(alpn(b"h2"))
    for length in range(len(message)):
        assert parse_server_hello(message[:length]) is Opinion.MORE, length


@pytest.mark.parametrize(("offset", "byte"), [(0, 1), (4, 4), (38, 33), (43, 200)])
def test_a_wrong_server_hello_is_refused(offset: int, byte: int) -> None:
    message = bytearray(server_hello(alpn(b"h2")))
    message[offset] = byte
    assert parse_server_hello(bytes(message)) is Opinion.NO


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (ServerHello(0x0304, 0x1301, ()), True),
        (ServerHello(0x0301, 0x1301, ()), True),
        (ServerHello(0x0305, 0x1301, ()), False),
        (ServerHello(0x0304, 0x1303, ()), False),
    ],
)
def test_an_answer_must_choose_from_the_offer(answer: ServerHello, fits: bool) -> None:
    hello = parsed(client_hello(supported_versions(0x0304, 0x0303)))
    assert hello.could_be_answered_by(answer) is fits


def test_sslv2_hello_is_read_when_its_lengths_add_up() -> None:
    hello = parse_sslv2_client_hello(SSLV2)
    assert isinstance(hello, ClientHello)
    assert (hello.legacy_version, hello.ciphers[:2]) == (0x0301, (0x2F, 0x35))
    for length in range(1, len(SSLV2)):
        assert parse_sslv2_client_hello(SSLV2[:length]) is Opinion.MORE, length


@pytest.mark.parametrize(("offset", "byte"), [(0, 0x34), (1, 0x35), (2, 4), (3, 2), (6, 0x1C), (8, 1), (10, 15)])
def test_a_wrong_sslv2_hello_is_refused(offset: int, byte: int) -> None:
    message = bytearray(SSLV2)
    message[offset] = byte
    assert parse_sslv2_client_hello(bytes(message)) is Opinion.NO


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise(data: bytes, cut: bool) -> None:
    for message in (data, b"\1" + sized(data, 3), client_hello()[:47] + data):
        hello = parse_client_hello(message, cut=cut)
        if isinstance(hello, ClientHello):
            client_facts(hello, "tls", "t")
    parse_server_hello(data)
    parse_server_hello(b"\2" + sized(data, 3))
    parse_sslv2_client_hello(b"\x80" + data)


@given(st.integers(4, 300), st.integers(0, 255))
def test_a_hello_with_any_byte_changed_raises_nothing(offset: int, byte: int) -> None:
    message = bytearray(client_hello(*CHROME_EXTENSIONS, ciphers=CHROME_CIPHERS))
    message[offset % len(message)] = byte
    hello = parse_client_hello(bytes(message))
    if isinstance(hello, ClientHello):
        client_facts(hello, "tls", "t")
