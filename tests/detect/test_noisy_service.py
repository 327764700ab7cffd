"""Flows of noise to one service: which count, how scores add up, and lengths that are common by chance."""

import random

import pytest

from middlebox.detect.noisy_service import FLOWS_REMEMBERED, Flow, Kind, Lengths, Service, sum_of_scores
from tests.detect.sample import noise


def noisy(service: Service, seed: int, score: float = 0.0) -> Flow:
    flow = service.begin()
    flow.kind, flow.scores["model"] = Kind.NOISE, score
    flow.client_head, flow.server_head = noise(8, seed=2 * seed), noise(8, seed=2 * seed + 1)
    return flow


def test_scores_are_cut_and_added_up() -> None:
    service = Service()
    for seed, score in enumerate((1.0, 9.0, -0.5, -7.0)):
        noisy(service, seed, score)
    assert sum_of_scores(service.noisy_flows(), "model", 2.5) == 1.0 + 2.5 - 0.5 - 2.5
    assert sum_of_scores(service.noisy_flows(), "another", 2.5) == 0.0


def test_only_the_latest_flows_count() -> None:
    service = Service()
    flows = [noisy(service, seed) for seed in range(20)]
    assert service.noisy_flows() == flows[-FLOWS_REMEMBERED:]


def test_unknown_flows_do_not_count_and_one_ordinary_flow_silences_all() -> None:
    service = Service()
    flow, other = noisy(service, 1), service.begin()
    assert service.noisy_flows() == [flow]
    other.kind = Kind.ORDINARY
    assert service.noisy_flows() == []


@pytest.mark.parametrize("head", ["client_head", "server_head"])
def test_first_bytes_that_are_alike_silence_all(head: str) -> None:
    service = Service()
    for seed in range(5):
        setattr(noisy(service, seed, 1.0), head, b"\x00\x01" + noise(6, seed=seed))
    assert service.noisy_flows() == []


def test_three_lengths_in_common_are_a_table() -> None:
    lengths = Lengths()
    for length in (523, 878, 1169):
        lengths.add(length, from_client=True)
        assert lengths.common() == 0
        lengths.add(length, from_client=False)
    assert lengths.common() == 3


@pytest.mark.parametrize("length", [0, 63, 1448, 9000])
def test_short_and_full_packets_are_left_out(length: int) -> None:
    lengths = Lengths()
    for one in (length, 523, 878):
        lengths.add(one, from_client=True)
        lengths.add(one, from_client=False)
    assert lengths.common() == 0


@pytest.mark.parametrize("low_ones", [False, True], ids=["uniform", "mostly-short"])
def test_independent_lengths_are_no_table(low_ones: bool) -> None:
    for seed in range(30):
        chance, lengths = random.Random(seed), Lengths()
        for number in range(300):
            length = int(10 ** chance.uniform(1.8, 3.2)) if low_ones else chance.randint(64, 1447)
            lengths.add(length, from_client=number % 2 == 0)
        assert lengths.common() == 0
