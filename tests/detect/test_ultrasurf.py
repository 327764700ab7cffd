"""UltraSurf: a browser's ClientHello counts only without a name."""

from middlebox.detect.ultrasurf import UltraSurf
from tests.detect.conversations import CLIENT, SERVER, last_evidence, stream
from tests.detect.hellos import alpn, client_hello, records, server_name, supported_versions
from tests.detect.samples_clear_proxies import CHROME_CIPHERS, CHROME_HELLO, TLS_ANSWER


def test_a_name_or_other_ciphers_make_it_another_program() -> None:
    assert last_evidence(stream(UltraSurf(), [CLIENT(CHROME_HELLO), SERVER(TLS_ANSWER)]))
    versions = supported_versions(0x0304)
    named = client_hello(server_name(b"example.org"), alpn(b"h2"), versions, ciphers=(*CHROME_CIPHERS, 0x2F, 0x35))
    others = client_hello(alpn(b"h2"), versions, ciphers=(*CHROME_CIPHERS, 0x2F, 0x3C))
    for hello in (named, others):
        assert last_evidence(stream(UltraSurf(), [CLIENT(records(hello)), SERVER(TLS_ANSWER)])) is None
