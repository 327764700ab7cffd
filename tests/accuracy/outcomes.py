"""Short spellings of labelled flows and what was said of them."""

from pathlib import Path

from middlebox.accuracy.measure import Outcome
from middlebox.accuracy.truth import LabelledCapture, LabelledFlow, Trust, flow_key
from middlebox.protocols import CATEGORY_OF

CAPTURE = LabelledCapture(Path("x.pcap"), "lab/x.pcap", "lab", Trust.TRUTH, "openvpn", ())
KEY = flow_key("UDP", "192.0.2.2", 40000, "198.51.100.2", 1194)


def flow(label: str = "openvpn", kind: str = "vpn", accept: tuple[str, ...] | None = ("openvpn",)) -> LabelledFlow:
    """A labelled flow."""
    return LabelledFlow(KEY, label, kind, None if accept is None else frozenset(accept), None)


def said(labelled: LabelledFlow | None, name: str = "unknown", level: str | None = None, **more: int) -> Outcome:
    """What we say of it."""
    outcome = Outcome(CAPTURE, labelled, "192.0.2.2:40000 > 198.51.100.2:1194 UDP")
    outcome.name, outcome.category, outcome.level = name, CATEGORY_OF[name], level
    for field, value in more.items():
        setattr(outcome, field, value)
    return outcome
