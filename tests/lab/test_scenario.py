"""The scenario format: what it accepts, and what it says about mistakes."""

import re
from pathlib import Path

import pytest
import yaml

from middlebox.lab import topology
from middlebox.lab.run import SCENARIOS, find_scenario, list_scenarios
from middlebox.lab.scenario import Scenario, ScenarioError, json_schema, load_scenario, parse_scenario
from middlebox.shells.errors import InputError

ROOT = Path(__file__).parents[2]
SMALL = """\
scenario: small
title: A small one
policy: small.policy.yaml
services:
  web: {program: nginx, names: [www.lab.example]}
  vpn: {program: openvpn, transport: udp}
steps:
  - step: https
    what: HTTPS
    client: {program: curl, service: web, name: www.lab.example, tls: "1.3"}
    truth: tls
    expect: {outcome: passed}
  - step: vpn
    what: OpenVPN
    client: {program: openvpn, service: vpn}
    truth: openvpn
    expect: {outcome: refused, rule: unapproved-vpn}
log:
  - {count: 0, match: {event_type: error}}
"""


def errors_of(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, "s.yaml")
    return str(caught.value).splitlines()


def changed(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new, 1)


def test_small_scenario_is_read():
    scenario = parse_scenario(SMALL, "s.yaml")
    assert [step.step for step in scenario.steps] == ["https", "vpn"]
    assert scenario.service_of(scenario.steps[1]).port == 1194


@pytest.mark.parametrize("path", list_scenarios(), ids=lambda path: path.stem)
def test_shipped_scenario_is_valid_and_has_the_name_of_its_file(path):
    scenario = load_scenario(path)
    assert scenario.scenario == path.stem
    assert (path.parent / scenario.policy).is_file()


def test_example_in_the_readme_is_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "lab" / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    assert parse_scenario(blocks[0], "README.md").scenario == "vpn-on-dns-port"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("policy: small", "polcy: small", '3:1: "polcy" is not a field here; did you mean "policy"?'),
        ("policy: small.policy.yaml\n", "", '1:1: "policy" is missing here'),
        ("service: vpn", "service: vnp", '15:41: service: there is no service "vnp"; did you mean "vpn"?'),
        ("service: vpn", "service: web", '15:41: openvpn needs a service of openvpn, "web" is nginx'),
        ("program: curl", "program: crul", '10:13: client: "crul" is not a program here; did you mean "curl"?'),
        ("program: nginx", "program: ngnix", '5:8: web: "ngnix" is not a program here; did you mean "nginx"?'),
        ("truth: tls", "truth: tlz", '11:12: truth: "tlz" is not a protocol; did you mean "tls"?'),
        ("step: vpn", "step: https", '13:11: 2 steps have the name "https", expected one'),
        (
            "outcome: passed",
            "outcome: pass",
            "12:23: outcome: found \"pass\", expected 'passed', 'refused' or 'reset'",
        ),
        (
            ", rule: unapproved-vpn",
            "",
            "17:13: expect: outcome refused has no rule; name the rule that must decide",
        ),
        (
            "rule: unapproved-vpn",
            "rule: unapproved-vpn, within_second: 3",
            '17:54: "within_second" is not a field here; did you mean "within_seconds"?',
        ),
        (
            "name: www.lab.example",
            "name: ww.lab.example",
            '10:49: name: "web" does not serve "ww.lab.example"; did you mean "www.lab.example"?',
        ),
        ('tls: "1.3"', "tls: 1.3", "10:71: tls: found the number 1.3, expected '1.2' or '1.3'"),
        ("title: A small one", "title: yes", '2:8: YAML reads yes as true; write "yes" or true'),
        ("count: 0, ", "", "19:5: log: expected either count or at_least"),
        (
            "title: A small one",
            "title: A\ntitle: B",
            '3:1: the key "title" stands here again; it is already in line 2',
        ),
        (
            "vpn: {program: openvpn, transport: udp}",
            "vpn: {program: openvpn, transport: tcp, port: 443}",
            "6:3: web and vpn listen on the same port; only tunnels can take turns",
        ),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_place(old, new, message):
    place, _, rest = message.partition(": ")
    assert f"s.yaml:{place}: error: {rest}" in errors_of(changed(old, new))


def test_all_mistakes_are_reported_at_once():
    text = changed("truth: tls", "truth: tlz").replace("step: vpn", "step: https")
    assert len(errors_of(text)) == 3  # the name stands twice, and both places are named


def test_text_that_is_not_yaml_is_one_error():
    assert len(errors_of("scenario: [")) == 1


def test_missing_scenario_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"there is no scenario 'nope' in .*; known: .*default"):
        find_scenario("nope")


def test_missing_file_is_an_error_of_one_line():
    with pytest.raises(InputError, match=r"cannot read the scenario /nope\.yaml: No such file or directory"):
        load_scenario(Path("/nope.yaml"))


def test_tunnels_that_share_a_port_are_contested_and_others_are_not():
    scenario = load_scenario(SCENARIOS / "default.yaml")
    assert {tuple(names) for names in scenario.contested()} == {("wireguard-unapproved", "wireguard-approved")}


def test_schema_file_is_what_the_models_say():
    path = ROOT / "middlebox" / "lab" / "scenario.schema.json"
    assert path.read_text() == json_schema(), f"run: python -m middlebox.lab.scenario > {path}"


def test_every_tunnel_has_addresses_of_its_own():
    networks = [topology.tunnel_addresses(number).network for number in range(topology.MAX_TUNNELS)]
    assert len(set(networks)) == topology.MAX_TUNNELS
    assert all(network.subnet_of(topology.TUNNELS) for network in networks)


def test_compose_file_has_the_same_addresses_as_the_namespaces():
    services = yaml.safe_load((ROOT / "lab" / "compose.yaml").read_text())["services"]
    found = {
        (name, network): topology.Addresses(each["ipv4_address"], each["ipv6_address"])
        for name, service in services.items()
        for network, each in service["networks"].items()
    }
    assert found == {
        ("client", "client-side"): topology.CLIENT_ADDRESSES,
        ("gateway", "client-side"): topology.GATEWAY_CLIENT_SIDE,
        ("gateway", "server-side"): topology.GATEWAY_SERVER_SIDE,
        ("server", "server-side"): topology.SERVER_ADDRESSES,
    }


def test_scenario_needs_at_least_one_step():
    assert (
        "s.yaml:7:8: error: steps: found a list; List should have at least 1 item after validation, not 0"
        in errors_of(re.sub(r"steps:\n.*(?=log:)", "steps: []\n", SMALL, flags=re.DOTALL))
    )


def test_models_refuse_what_they_do_not_know():
    assert all(model["additionalProperties"] is False for model in Scenario.model_json_schema()["$defs"].values())
