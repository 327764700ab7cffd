"""OpenVPN inside TLS: lengths of records that belong together, and handshakes of HTTP that nearly do."""

import pytest

from middlebox.detect.openvpn_in_tls import OpenVpnInTls
from middlebox.evidence import Evidence
from tests.detect.conversations import last_evidence, stream
from tests.detect.samples_openvpn_wireguard import IN_TLS_SIZES, OPENVPN_IN_TLS, TLS_HANDSHAKE, record


def tls(sizes: tuple[int, ...]) -> Evidence | None:
    messages = TLS_HANDSHAKE + tuple((size > 0, record(abs(size))) for size in sizes)
    return last_evidence(stream(OpenVpnInTls(), messages))


@pytest.mark.parametrize("segment", [3, 1460, 1 << 16])
def test_segments_change_nothing(segment: int) -> None:
    assert last_evidence(stream(OpenVpnInTls(), OPENVPN_IN_TLS, segment=segment))


def test_wraps_shift_all_sizes() -> None:
    for wrap in (24, 28, 40, 72):
        assert tls(tuple(size + wrap if size > 0 else size - wrap for size in IN_TLS_SIZES))
    assert tls(tuple(size + 5 if size > 0 else size - 5 for size in IN_TLS_SIZES)) is None


@pytest.mark.parametrize(
    ("why", "at", "size"),
    [
        ("a reset of another size", 0, 17),
        ("an answer of another size", 1, -29),
        ("no long record of the client", 2, 150),
        ("an acknowledgement of another size", 4, 30),
    ],
)
def test_one_length_wrong_and_it_is_nothing(why: str, at: int, size: int) -> None:
    sizes = list(IN_TLS_SIZES)
    sizes[at] = size
    if at == 2:
        sizes[6] = sizes[8] = size
    assert tls(tuple(sizes)) is None, why


def test_requests_and_responses_are_nothing() -> None:
    assert tls((16, -1300, 28, -40, 300, -1300, -1300)) is None
