"""obfs4's table of lengths: within one flow, over several, and lengths that are common by chance."""

import random

from middlebox.detect.obfs4 import Bridge, Obfs4
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from tests.detect.conversations import CLIENT, SERVER, Message, last_evidence, stream
from tests.detect.sample import noise
from tests.detect.samples_obfuscated import exchange

TABLE = (523, 878, 1169, 283, 906, 185)
HANDSHAKE = (807, -2535)


def tcp(*messages: Message, bridge: Bridge | None = None) -> Evidence | None:
    return last_evidence(stream(Obfs4(bridge), messages, segment=1448))


def answers(*messages: Message) -> list[Answer]:
    return list(stream(Obfs4(), messages, segment=1448))


def lengths(count: int, table: tuple[int, ...], seed: int) -> tuple[int, ...]:
    """A handshake, then packets with lengths of the table, in turn from either side."""
    chance = random.Random(seed)
    return (*HANDSHAKE, *((-1) ** number * chance.choice(table) for number in range(count)))


def test_both_sides_use_one_table() -> None:
    evidence = tcp(*exchange(*HANDSHAKE, 523, -878, 878, -1169, 1169, -523))
    assert evidence
    assert (evidence.protocol, evidence.confidence) == ("obfs4", Confidence.PROBABLE)
    assert evidence.reason == "noise both ways, and 3 lengths of packets that both sides used: obfs4's table"


def test_two_common_lengths_are_not_enough() -> None:
    assert tcp(*exchange(*HANDSHAKE, 523, -878, 878, -523, 283, -906)) is None


def test_each_side_repeating_itself_is_not_enough() -> None:
    assert tcp(*exchange(*HANDSHAKE, *(523, -878) * 10)) is None


def test_a_bridges_table_adds_up_over_flows() -> None:
    bridge = Bridge()
    found = [tcp(*exchange(*lengths(4, TABLE, seed), seed=seed), bridge=bridge) for seed in range(8)]
    assert found[0] is None
    assert found[-1] is not None


def test_independent_lengths_do_not_add_up() -> None:
    bridge = Bridge()
    anything = tuple(range(64, 1448))
    for seed in range(60):
        assert tcp(*exchange(*lengths(20, anything, seed), seed=seed), bridge=bridge) is None


def test_the_handshake_and_full_packets_do_not_count() -> None:
    assert tcp(*exchange(523, -523, 1448, -1448, 30, -30, 20, -20, 10, -10)) is None


def test_memory_is_bounded() -> None:
    bridge = Bridge()
    for length in range(64, 1448):
        bridge.add(length, from_client=True)
    assert len(bridge.lengths[True]) == 128


def test_handshakes_that_cannot_be_are_refused() -> None:
    assert answers(*exchange(148, -2000))[-1] is Opinion.NO
    assert answers(*exchange(8193))[-1] is Opinion.NO
    assert answers(*exchange(807, -140, 523))[-1] is Opinion.NO
    assert answers(SERVER(noise(400))) == [Opinion.NO]
    assert answers(CLIENT(b"GET / HTTP/1.1\r\n" * 20)) == [Opinion.NO]
    assert answers(CLIENT(noise(807)), SERVER(bytes(500)), CLIENT(noise(523)))[-1] is Opinion.NO


def test_it_does_not_look_for_ever() -> None:
    assert answers(*exchange(*HANDSHAKE, *(523, -878) * 20))[-1] is Opinion.NO
