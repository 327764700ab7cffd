"""IEC 60870-5-104: one side starts, stops or tests the transfer, the other confirms that (section 5.1 of the standard).

The one rule: an activation must get its own confirmation.
"""

from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer

_START_BYTE = b"\x68"
_UNNUMBERED = {
    b"\x68\x04\x07\x00\x00\x00": b"\x68\x04\x0b\x00\x00\x00",
    b"\x68\x04\x13\x00\x00\x00": b"\x68\x04\x23\x00\x00\x00",
    b"\x68\x04\x43\x00\x00\x00": b"\x68\x04\x83\x00\x00\x00",
}
"Activation and confirmation of STARTDT, STOPDT and TESTFR."
_FRAME_BYTES = 6


def _is_activation(data: bytes) -> Fit:
    frame = data[:_FRAME_BYTES]
    if len(frame) < _FRAME_BYTES:
        return None if any(known.startswith(frame) for known in _UNNUMBERED) else False
    return frame in _UNNUMBERED


def _is_confirmation(data: bytes, activation: bytes) -> Fit:
    expected = _UNNUMBERED.get(activation[:_FRAME_BYTES], _START_BYTE)
    return data.startswith(expected) or (None if expected.startswith(data) else False)


class Iec104(Exchange):
    """Finds an activation and its confirmation."""

    name: ClassVar[str] = "iec104"
    protocols: ClassVar[tuple[str, ...]] = ("iec104",)
    misses: ClassVar[str] = "Connections joined after their start, and what is inside TLS (IEC 62351-3)."
    client_begins: ClassVar[bytes] = _START_BYTE
    server_begins: ClassVar[bytes] = _START_BYTE
    patience: ClassVar[int] = 256

    def judge(self, client: bytes, server: bytes) -> Answer:
        """The first frame of each side."""
        asked = _is_activation(client)
        answered = _is_confirmation(server, client) if server else None
        return self.weigh(
            asked,
            answered if asked or answered is False else None,
            question="an activation",
            answer="",
            link="a confirmation of the activation",
        )
