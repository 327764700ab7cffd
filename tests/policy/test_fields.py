"""The list of fields: what a condition may name, and with which operators."""

import pytest

from middlebox.detect import DETECTORS
from middlebox.policy.fields import FLOW_FIELDS, OPERATORS, SERVER_NAME_FACTS, Kind, known_fields
from middlebox.policy.rule import Operator
from tests.toys import GreedyToy, NameToy


def test_without_detectors_only_the_flow_itself_has_fields() -> None:
    assert known_fields(()) == dict(FLOW_FIELDS)


def test_every_declared_fact_is_a_field() -> None:
    fields = known_fields((NameToy, GreedyToy))
    assert fields["tls.sni"] is fields["tls.version"] is fields["openvpn.wrap"] is Kind.FACT
    assert set(FLOW_FIELDS) <= set(fields)


def test_no_detectors_fact_hides_a_field_of_the_flow() -> None:
    for detector in DETECTORS:
        assert not set(detector.facts) & set(FLOW_FIELDS), detector.name


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_default_operator(kind: Kind) -> None:
    assert OPERATORS[kind]


def test_addresses_mean_networks_and_confidence_means_a_least_level() -> None:
    assert OPERATORS[FLOW_FIELDS["src_ip"]] == (Operator.CIDR,)
    assert OPERATORS[FLOW_FIELDS["dest_ip"]] == (Operator.CIDR,)
    assert OPERATORS[FLOW_FIELDS["confidence"]] == (Operator.AT_LEAST,)
    assert OPERATORS[FLOW_FIELDS["server_name"]][0] is Operator.IN


def test_server_names_come_from_facts_that_detectors_declare() -> None:
    if DETECTORS:
        assert set(SERVER_NAME_FACTS) <= set(known_fields(DETECTORS))
