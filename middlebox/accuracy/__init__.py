"""Measures what the detectors say against what is known of captures. `make accuracy` runs it.

`truth` reads labels, `names` translates other people's names for protocols, `measure` replays and compares, `ndpi` asks
ndpiReader about the same files, `speed` times every detector on every packet, `report` writes it all down.
"""
