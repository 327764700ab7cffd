"""Sample exchanges: proxies and anonymity networks inside TLS or QUIC."""

from tests.detect.sample import Sample

SAMPLES: dict[str, list[Sample]] = {}
"Detector name to its samples."

LOOKALIKES: list[Sample] = []
"Exchanges that no detector may call confirmed."
