"""Sample exchanges: mesh overlays and encapsulations."""

from tests.detect.sample import Sample

SAMPLES: dict[str, list[Sample]] = {}
"Detector name to its samples."

LOOKALIKES: list[Sample] = []
"Exchanges that no detector may call confirmed."
