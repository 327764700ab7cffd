"""Sample exchanges: IPsec, L2TP, PPTP, SSTP, TLS-based VPNs."""

from tests.detect.sample import Sample

SAMPLES: dict[str, list[Sample]] = {}
"Detector name to its samples."

LOOKALIKES: list[Sample] = []
"Exchanges that no detector may call confirmed."
