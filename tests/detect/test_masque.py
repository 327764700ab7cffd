"""MASQUE: the upgrade must be granted; over TLS only two names tell."""

import pytest

from middlebox.detect.masque import Masque
from middlebox.evidence import Confidence, Evidence
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.hellos import alpn, client_hello, records, server_name, supported_versions
from tests.detect.samples_clear_proxies import MASQUE_GRANTED, MASQUE_UPGRADE, TLS_ANSWER


def tcp(*messages: Message) -> Confidence | None:
    evidence: Evidence | None = last_evidence(stream(Masque(), messages))
    return evidence.confidence if evidence else None


@pytest.mark.parametrize("token", [b"connect-udp", b"connect-ip"])
def test_a_granted_upgrade_confirms(token: bytes) -> None:
    asked, granted = (one.replace(b"connect-udp", token) for one in (MASQUE_UPGRADE, MASQUE_GRANTED))
    assert tcp(CLIENT(asked)) is Confidence.PROBABLE
    assert tcp(CLIENT(asked), SERVER(granted)) is Confidence.CONFIRMED
    assert tcp(CLIENT(asked), SERVER(granted.replace(token, b"websocket"))) is Confidence.PROBABLE
    assert tcp(CLIENT(asked), SERVER(b"HTTP/1.1 404 Not Found\r\n\r\n")) is Confidence.PROBABLE
    assert tcp(CLIENT(asked.replace(token, b"websocket")), SERVER(granted)) is None


@pytest.mark.parametrize(("name", "expected"), [(b"mask.icloud.com", Confidence.PROBABLE), (b"icloud.com", None)])
def test_a_relays_name_is_probable(name: bytes, expected: Confidence | None) -> None:
    hello = records(client_hello(server_name(name), alpn(b"h2"), supported_versions(0x0304)))
    assert tcp(CLIENT(hello), SERVER(TLS_ANSWER)) is expected
