"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.base import Detector

DETECTORS: tuple[type[Detector], ...] = ()
"Every detector the engine runs, in the order in which they are asked."
