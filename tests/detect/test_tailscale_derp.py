"""Tailscale's relays: upgrades to DERP, to other things, and refused."""

import pytest

from middlebox.detect.tailscale_derp import TailscaleDerp
from middlebox.evidence import Confidence
from tests.detect.conversations import CLIENT, SERVER, last_evidence, stream
from tests.detect.samples_openvpn_wireguard import DERP, DERP_GREETING, DERP_REQUEST, DERP_RESPONSE, noise


@pytest.mark.parametrize("segment", [1, 7, 1460])
def test_the_greeting_confirms(segment: int) -> None:
    evidence = last_evidence(stream(TailscaleDerp(), DERP, segment=segment))
    assert evidence
    assert evidence.reason == "a relay answers the upgrade to DERP with its greeting"


@pytest.mark.parametrize(
    ("why", "request_head", "response"),
    [
        ("another upgrade", DERP_REQUEST.replace(b"DERP", b"websocket"), DERP_RESPONSE + DERP_GREETING),
        ("refused", DERP_REQUEST, b"HTTP/1.1 426 Upgrade Required\r\n\r\n"),
        ("another greeting", DERP_REQUEST, DERP_RESPONSE + b"\x01\x00\x00\x00\x28" + noise(40)),
        ("another path", DERP_REQUEST.replace(b"/derp", b"/dino"), DERP_RESPONSE + DERP_GREETING),
    ],
)
def test_an_upgrade_that_is_not_derp_is_not_confirmed(why: str, request_head: bytes, response: bytes) -> None:
    evidence = last_evidence(stream(TailscaleDerp(), [CLIENT(request_head), SERVER(response)]))
    assert evidence is None or evidence.confidence is Confidence.PROBABLE, why
