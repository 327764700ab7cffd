"""TPKT and X.224: lengths that must agree."""

import pytest

from middlebox.detect.tpkt import CONNECTION_REQUEST, DATA, Unit, read_unit
from tests.detect.samples_ordinary_tcp import x224, x224_data

REQUEST = x224(0xE0, b"abc")


def test_units_are_read() -> None:
    assert read_unit(REQUEST) == Unit(CONNECTION_REQUEST, b"abc", len(REQUEST))
    assert read_unit(REQUEST + x224_data(b"data") + b"more", len(REQUEST)) == Unit(DATA, b"data", len(REQUEST) + 11)


def test_a_request_is_whole_or_nothing_and_data_is_what_is_there() -> None:
    for end in range(len(REQUEST)):
        assert read_unit(REQUEST[:end]) is None
    assert read_unit(x224_data(b"data")[:9]) == Unit(DATA, b"da", 11)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x02" + REQUEST[1:], id="another version"),
        pytest.param(b"\x03\x01" + REQUEST[2:], id="the reserved byte"),
        pytest.param(REQUEST[:3] + b"\x20" + REQUEST[4:], id="longer than its unit"),
        pytest.param(REQUEST[:4] + b"\x05" + REQUEST[5:], id="shorter than its fixed part"),
        pytest.param(REQUEST[:5] + b"\x80" + REQUEST[6:], id="another code"),
        pytest.param(b"\x03\x00\x00\x0b\x03\xf0\x80data", id="data with parameters"),
    ],
)
def test_what_is_no_unit_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no X"):
        read_unit(data)
