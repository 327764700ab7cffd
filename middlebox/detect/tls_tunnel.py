"""SSH and SOCKS5 inside TLS, as stunnel and its like carry them: known by the lengths of their first messages.

SSH begins with a line from each side; then each sends a packet of algorithm lists that is a multiple of eight bytes,
and so are all packets until encryption begins; the client's next one has a length that its key exchange fixes. SOCKS5
begins with four messages of fixed lengths.

The one rule: lengths of both sides' first messages, exact where the specification makes them exact. No HTTP request and
no handshake has these.

Sources: RFC 4253 sections 4.2, 6, 7.1 and 8; RFC 1928 sections 3, 4 and 6.
"""

from typing import ClassVar

from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.detect.tls_cover import Cover
from middlebox.evidence import Answer, Confidence, Evidence, Opinion

_LINE_BYTES = range(10, 256)
"`SSH-2.0-`, at least something, CR LF; RFC 4253 section 4.2."
_LISTS_BYTES = range(496, 2_504, 8)
"Ours: an SSH_MSG_KEXINIT with ten lists; OpenSSH's have 1000 to 1600 bytes, Dropbear's half of that."
_KEY_EXCHANGE_BYTES = frozenset({24, 48, 80, 112, 152, 272, 528, 1_208, 1_232})
"""The client's next packet: length (4), padding length (1), type (1), then a request for a group (three numbers), or,
behind its length (4), a key: on X25519 (32), the NIST curves (65, 97, 133), in groups 14 and 16 (257, 513), with
Streamlined NTRU Prime (1190) or ML-KEM (1216) added; at least 4 bytes of padding, to a multiple of 8. RFC 4253 sections
6 and 8, RFC 4419, RFC 5656, draft-ietf-sshm-ntruprime-ssh, draft-ietf-sshm-mlkem-hybrid-kex."""
_GREETINGS, _METHOD_BYTES = (3, 4), 2
"SOCKS5: version, number of methods, one or two of them; version and the method chosen."
_CONNECT_BYTES = range(10, 263)
"Version, command, reserved, address type, address (4, 16, or its length and a name), port."
_REPLIES = (10, 22)
"The same, with an IPv4 or IPv6 address."
_SERVER_RECORDS = 5
"Of the server, that are searched for its answer: in TLS 1.3 session tickets come first, which nothing tells from data."
_MOST_CLIENT_RECORDS, _MOST_SERVER_RECORDS = 4, 8
"Ours: records after which none of the protocols is expected any more."
_MOST_RECORD_BYTES = 4_096
"Ours: none of the protocols' first answers are as long as that."


class TlsTunnel(Detector):
    """Recognises SSH and SOCKS5 inside TLS."""

    name: ClassVar[str] = "tls_tunnel"
    transports: ClassVar[tuple[int, ...]] = (TCP,)
    protocols: ClassVar[tuple[str, ...]] = ("tls-tunnel",)
    facts: ClassVar[tuple[str, ...]] = ("tls-tunnel.inner",)
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 7
    misses: ClassVar[str] = (
        "Other protocols inside TLS (OpenVPN has its own detector), SOCKS5 with a password, and what splits records."
    )
    builds_on: ClassVar[tuple[str, ...]] = ("tls",)

    __slots__ = ("_client", "_cover", "_server")

    def __init__(self) -> None:
        self._cover = Cover()
        self._client: list[int] = []
        self._server: list[int] = []

    def feed(self, talk: Conversation) -> Answer:
        """Compare the first records of both sides with what these protocols begin with."""
        for size in self._cover.read(talk):
            (self._client if size > 0 else self._server).append(abs(size))
        if evidence := self._find_ssh() or self._find_socks():
            return evidence
        if self._is_neither() or self._cover.is_hopeless(talk):
            return Opinion.NO
        return Opinion.MORE

    def _find_ssh(self) -> Evidence | None:
        if len(self._client) < 3 or self._client[0] not in _LINE_BYTES or self._client[1] not in _LISTS_BYTES:
            return None
        lists = next((size for size in self._server[:_SERVER_RECORDS] if size in _LISTS_BYTES), 0)
        if self._client[2] not in _KEY_EXCHANGE_BYTES or not lists:
            return None
        reason = (
            f"after a line, packets of {self._client[1]} and {lists} bytes are SSH's lists of algorithms, "
            f"one of {self._client[2]} its key exchange"
        )
        return Evidence("tls-tunnel", Confidence.PROBABLE, reason, {"tls-tunnel.inner": "ssh"})

    def _find_socks(self) -> Evidence | None:
        if len(self._client) < 2 or self._client[0] not in _GREETINGS or self._client[1] not in _CONNECT_BYTES:
            return None
        short = [size for size in self._server[:_SERVER_RECORDS] if size <= max(_REPLIES)]
        if len(short) < 2 or short[0] != _METHOD_BYTES or short[1] not in _REPLIES:
            return None
        reason = (
            f"messages of {self._client[0]}, {short[0]}, {self._client[1]} and {short[1]} bytes are SOCKS5's: "
            "greeting, method, request, reply"
        )
        return Evidence("tls-tunnel", Confidence.PROBABLE, reason, {"tls-tunnel.inner": "socks5"})

    def _is_neither(self) -> bool:
        """Whether the first records exclude all of them."""
        client = self._client
        server = self._server
        if len(client) >= _MOST_CLIENT_RECORDS or len(server) >= _MOST_SERVER_RECORDS:
            return True
        if server and server[-1] > _MOST_RECORD_BYTES:
            return True
        if not client or client[0] in _GREETINGS:
            return False
        return client[0] not in _LINE_BYTES or (len(client) > 1 and client[1] not in _LISTS_BYTES)
