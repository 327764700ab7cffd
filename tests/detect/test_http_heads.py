"""Heads of HTTP/1 messages: when they are whole, and what their lines say."""

from middlebox.detect.http_heads import is_response_begun, read_head


def test_a_head_is_read_once_it_is_whole() -> None:
    request = b"\r\n\r\nGET /a b HTTP/1.1\r\nHost: example.org\r\nUPGRADE:  h2c , WebSocket\r\n\r\nbody"
    head = read_head(request)
    assert head
    assert head.words == (b"GET", b"/a b", b"HTTP/1.1")
    assert head.headers == {b"host": b"example.org", b"upgrade": b"h2c , WebSocket"}
    assert request[head.end :] == b"body"
    assert head.lists(b"upgrade", b"websocket")
    assert not head.lists(b"upgrade", b"web")
    for end in range(head.end):
        assert read_head(request[:end]) is None


def test_a_status_line_keeps_its_reason() -> None:
    head = read_head(b"HTTP/1.0 200 Connection established\n\n")
    assert head
    assert head.words == (b"HTTP/1.0", b"200", b"Connection established")


def test_lines_that_are_no_headers_are_passed_over() -> None:
    head = read_head(b"GET / HTTP/1.1\r\nMozilla 4.0 (compatible)\r\nno colon\r\n: empty\r\nA: 1\r\nA: 2\r\n\r\n")
    assert head
    assert head.headers == {b"a": b"2"}


def test_a_thousand_headers_are_not_all_read() -> None:
    head = read_head(b"GET / HTTP/1.1\r\n" + b"".join(b"a%d: 1\r\n" % number for number in range(1000)) + b"\r\n")
    assert head
    assert len(head.headers) <= 128


def test_nothing_begins_like_everything() -> None:
    assert is_response_begun(b"")
    assert is_response_begun(b"HTTP/1.1 200")
    assert not is_response_begun(b"RTSP/1.0")
