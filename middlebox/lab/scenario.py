"""A scenario as data: which programs run where, who is truly doing what, what must happen.

Rule of this file: it reads and refuses, it runs nothing. Every problem of a file is reported at once, with its
line, what was found and what was expected.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from middlebox.lab.topology import MAX_TUNNELS, Family
from middlebox.policy.problem import Problem, described, quoted, suggestion
from middlebox.policy.yaml_positions import Document, read_yaml
from middlebox.protocols import CATEGORY_OF
from middlebox.shells.errors import InputError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=40)]
"Names of scenarios, services and steps: they become file names."
HostName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", max_length=253)]
Port = Annotated[int, Field(ge=1, le=65535)]
Transport = Literal["udp", "tcp"]

MAX_STEPS = 90
"Each step has a block of source ports for itself, see `clients.source_port`."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Nginx(_Strict):
    """HTTPS with TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2, for every one of `names`."""

    program: Literal["nginx"]
    port: Port = 443
    names: list[HostName] = Field(min_length=1)


class AioquicServer(_Strict):
    """HTTP/3."""

    program: Literal["aioquic"]
    port: Port = 443
    names: list[HostName] = Field(min_length=1)


class Dnsmasq(_Strict):
    """A DNS server that answers for `names` with the lab server's addresses."""

    program: Literal["dnsmasq"]
    port: Port = 53
    names: list[HostName] = Field(min_length=1)


class Sshd(_Strict):
    """OpenSSH."""

    program: Literal["sshd"]
    port: Port = 22


class OpenvpnServer(_Strict):
    """OpenVPN with TLS, as a server for many clients."""

    program: Literal["openvpn"]
    transport: Transport
    port: Port = 1194
    family: Literal["ipv4", "ipv6"] = "ipv4"


class WireguardServer(_Strict):
    """WireGuard: the kernel's where there is one, else wireguard-go. Each service has keys of its own."""

    program: Literal["wireguard"]
    port: Port = 51820
    family: Literal["ipv4", "ipv6"] = "ipv4"


TunnelService = OpenvpnServer | WireguardServer
Service = Nginx | AioquicServer | Dnsmasq | Sshd | OpenvpnServer | WireguardServer


class _Client(_Strict):
    service: Name = Field(description="The service it talks to.")


class _OrdinaryClient(_Client):
    family: Literal["ipv4", "ipv6"] = "ipv4"


class Curl(_OrdinaryClient):
    """Fetches `kilobytes` over HTTPS and checks them, and that the server saw this version of TLS and HTTP."""

    program: Literal["curl"]
    name: HostName = Field(description="The server name it asks for: SNI and Host.")
    tls: Literal["1.2", "1.3"]
    http: Literal["1.1", "2"] = "1.1"
    kilobytes: int = Field(200, ge=1, le=100_000)


class AioquicClient(_OrdinaryClient):
    """Fetches `kilobytes` over HTTP/3 and checks them."""

    program: Literal["aioquic"]
    name: HostName
    kilobytes: int = Field(200, ge=1, le=100_000)


class Dig(_OrdinaryClient):
    """Asks for the address of `name` and checks the answer."""

    program: Literal["dig"]
    name: HostName
    transport: Transport = "udp"


class Ssh(_OrdinaryClient):
    """Logs in with a key, runs a command and checks what it prints."""

    program: Literal["ssh"]


class OpenvpnClient(_Client):
    """Brings the tunnel up and fetches `kilobytes` through it."""

    program: Literal["openvpn"]
    kilobytes: int = Field(200, ge=1, le=100_000)


class WireguardClient(_Client):
    """Brings the tunnel up and fetches `kilobytes` through it."""

    program: Literal["wireguard"]
    kilobytes: int = Field(200, ge=1, le=100_000)


Client = Curl | AioquicClient | Dig | Ssh | OpenvpnClient | WireguardClient

SERVED_BY: Mapping[str, str] = {
    "curl": "nginx",
    "aioquic": "aioquic",
    "dig": "dnsmasq",
    "ssh": "sshd",
    "openvpn": "openvpn",
    "wireguard": "wireguard",
}
"Program of a client to program of the service it can talk to."

Outcome = Literal["passed", "refused", "reset"]


class Expectation(_Strict):
    """What must happen."""

    outcome: Outcome = Field(description="refused: no answer, or a refusal; reset: the client sees a reset.")
    rule: Name | None = Field(None, description="The rule that must decide. Needed unless the outcome is passed.")
    within_seconds: float = Field(15.0, gt=0, le=300, description="Time to succeed, or how long a refusal must hold.")

    @model_validator(mode="after")
    def _refusals_name_their_rule(self) -> Self:
        if self.outcome != "passed" and self.rule is None:
            raise ValueError(f"outcome {self.outcome} has no rule; name the rule that must decide")
        return self


class Step(_Strict):
    """One thing the client does."""

    step: Name
    what: str = Field(min_length=1, description="In words, for the report.")
    client: Annotated[Client, Field(discriminator="program")]
    truth: str = Field(description="The protocol that this truly is, by its name in `middlebox protocols`.")
    expect: Expectation


class LogCheck(_Strict):
    """How many events must have these values. Keys are dotted paths into the event, as in `middlebox.rule`."""

    match: dict[str, str | int | bool | None] = Field(min_length=1)
    count: int | None = Field(None, ge=0, description="Exactly so many.")
    at_least: int | None = Field(None, ge=1, description="So many or more.")

    @model_validator(mode="after")
    def _has_one_number(self) -> Self:
        if (self.count is None) == (self.at_least is None):
            raise ValueError("expected either count or at_least")
        return self


class Scenario(_Strict):
    """A scenario file."""

    scenario: Name
    title: str = Field(min_length=1)
    policy: str = Field(description="The policy file, beside this one. ${service.public_key} stands for a key.")
    services: dict[Name, Annotated[Service, Field(discriminator="program")]] = Field(min_length=1)
    steps: list[Step] = Field(min_length=1, max_length=MAX_STEPS)
    log: list[LogCheck] = []
    keep: list[Literal["events", "capture"]] = ["events", "capture"]

    def service_of(self, step: Step) -> Service:
        """The service that a step talks to."""
        return self.services[step.client.service]

    def tunnel_number(self, service: str) -> int:
        """The place of a tunnel service among the scenario's tunnels, counted from 0."""
        tunnels = [name for name, each in self.services.items() if isinstance(each, TunnelService)]
        return tunnels.index(service)

    def contested(self) -> list[list[str]]:
        """Services that share an address, transport and port. Only one of each list can run at a time."""
        by_endpoint: dict[tuple[str, str, int], list[str]] = {}
        for name, service in self.services.items():
            for endpoint in endpoints(service):
                by_endpoint.setdefault(endpoint, []).append(name)
        return [names for names in by_endpoint.values() if len(names) > 1]


def endpoints(service: Service) -> Iterator[tuple[str, str, int]]:
    """Family, transport and port of every socket that a service listens on."""
    match service:
        case OpenvpnServer():
            yield service.family, service.transport, service.port
        case WireguardServer():
            # A WireGuard socket takes both families, whichever of them the scenario uses.
            yield from ((family.value, "udp", service.port) for family in Family)
        case _:
            transports = {"aioquic": ["udp"], "dnsmasq": ["udp", "tcp"]}.get(service.program, ["tcp"])
            yield from ((family.value, transport, service.port) for family in Family for transport in transports)


class ScenarioError(InputError):
    """A scenario that cannot be used, with everything that is wrong with it. One line each."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        ScenarioError: With every problem of the file.
        InputError: The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read the scenario {path}: {reason}") from None
    return parse_scenario(text, str(path))


def parse_scenario(text: str, source: str) -> Scenario:
    """Turn the text of a scenario file into a scenario; `source` names the file in messages.

    Raises:
        ScenarioError: With every problem of the text.
    """
    document = read_yaml(text, source)
    problems = list(document.problems)
    if not document.readable:
        raise ScenarioError(problems)
    scenario = None
    try:
        scenario = Scenario.model_validate(document.data)
    except ValidationError as error:
        found = [_problem(details, document) for details in error.errors(include_url=False)]
        # What YAML would have changed has been refused already; what it seems to be is not worth a second message.
        problems += [problem for problem in found if (problem.line, problem.column) not in document.refused]
    if scenario is not None:
        problems += _wrong_references(scenario, document)
    if problems or scenario is None:
        raise ScenarioError(problems)
    return scenario


def _wrong_references(scenario: Scenario, document: Document) -> Iterator[Problem]:
    """Names that refer to nothing, and things that cannot work together."""
    seen = Counter(step.step for step in scenario.steps)
    tunnels = sum(isinstance(each, TunnelService) for each in scenario.services.values())
    if tunnels > MAX_TUNNELS:
        yield document.key_place(("services",)).error(
            f"found {tunnels} tunnel services, expected at most {MAX_TUNNELS}"
        )
    for names in scenario.contested():
        if any(not isinstance(scenario.services[name], TunnelService) for name in names):
            place = document.key_place(("services", names[-1]))
            yield place.error(f"{' and '.join(names)} listen on the same port; only tunnels can take turns")
    for index, step in enumerate(scenario.steps):
        if seen[step.step] > 1:
            place = document.value_place(("steps", index, "step"))
            yield place.error(f"{seen[step.step]} steps have the name {quoted(step.step)}, expected one")
        if step.truth not in CATEGORY_OF:
            place = document.value_place(("steps", index, "truth"))
            yield place.error(f"truth: {quoted(step.truth)} is not a protocol{suggestion(step.truth, CATEGORY_OF)}")
        wanted = step.client.service
        place = document.value_place(("steps", index, "client", "service"))
        service = scenario.services.get(wanted)
        if service is None:
            hint = suggestion(wanted, scenario.services) or f"; services: {', '.join(scenario.services)}"
            yield place.error(f"service: there is no service {quoted(wanted)}{hint}")
        elif service.program != SERVED_BY[step.client.program]:
            needed = SERVED_BY[step.client.program]
            yield place.error(
                f"{step.client.program} needs a service of {needed}, {quoted(wanted)} is {service.program}"
            )
        elif isinstance(step.client, Curl | AioquicClient | Dig) and isinstance(
            service, Nginx | AioquicServer | Dnsmasq
        ):
            name = step.client.name
            if name not in service.names:
                place = document.value_place(("steps", index, "client", "name"))
                yield place.error(
                    f"name: {quoted(wanted)} does not serve {quoted(name)}{suggestion(name, service.names)}"
                )


_MODELS: Mapping[str, type[BaseModel]] = {
    model.__name__: model for model in (Scenario, Step, Expectation, LogCheck, *Service.__args__, *Client.__args__)
}
_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a mapping (name: value)",
    "model_type": "a mapping (name: value)",
    "model_attributes_type": "a mapping (name: value)",
}


def _problem(details: ErrorDetails, document: Document) -> Problem:
    """One pydantic error, with its place and in the words of this project."""
    kind, found, context = details["type"], details["input"], details.get("ctx", {})
    # A discriminated union puts the program's name into the path; the document has no such level.
    path = tuple(
        part
        for index, part in enumerate(details["loc"])
        if not (index and part in _PROGRAMS and details["loc"][index - 1] == "client")
        and not (index == 2 and details["loc"][0] == "services")
    )
    label = next((str(part) for part in reversed(path) if isinstance(part, str) and part != "[key]"), "scenario")
    if path and path[-1] == "[key]":
        return document.key_place(path[:-1]).error(f"found {quoted(str(found))}, expected a name: {_NAME_WORDS}")
    place = document.value_place(path)
    match kind:
        case "missing":
            return place.error(f"{quoted(label)} is missing here")
        case "extra_forbidden":
            hint = suggestion(label, _known_keys(path)) or f"; known: {', '.join(_known_keys(path))}"
            return document.key_place(path).error(f"{quoted(label)} is not a field here{hint}")
        case "literal_error":
            return place.error(f"{label}: found {described(found)}, expected {context['expected']}")
        case "union_tag_not_found":
            return place.error(f"{label}: program is missing; programs: {', '.join(_programs(path))}")
        case "union_tag_invalid":
            tag = str(context["tag"])
            hint = suggestion(tag, _programs(path)) or f"; programs: {', '.join(_programs(path))}"
            return place.error(f"{label}: {quoted(tag)} is not a program here{hint}")
        case "string_pattern_mismatch":
            return place.error(f"{label}: found {quoted(str(found))}, expected a name: {_NAME_WORDS}")
        case "value_error":
            return place.error(f"{label}: {context['error']}")
        case _ if kind in _EXPECTED:
            return place.error(f"{label}: found {described(found)}, expected {_EXPECTED[kind]}")
        case _:
            message = details["msg"].replace("Input should", "it should")
            return place.error(f"{label}: found {described(found)}; {message}")


_NAME_WORDS = "small letters, digits, dots and hyphens, beginning with a letter or digit"
_PROGRAMS = frozenset({*SERVED_BY, *SERVED_BY.values()})


def _programs(path: tuple[str | int, ...]) -> list[str]:
    return sorted(set(SERVED_BY.values())) if path and path[0] == "services" else sorted(SERVED_BY)


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    """The keys that stand beside the last one of `path`."""
    models: list[type[BaseModel]]
    match path[:-1]:
        case ():
            models = [Scenario]
        case ("steps", int()):
            models = [Step]
        case ("steps", int(), "expect"):
            models = [Expectation]
        case ("log", int()):
            models = [LogCheck]
        case ("services", *_):
            models = list(Service.__args__)
        case _:
            models = list(Client.__args__)
    return list(dict.fromkeys(field for model in models for field in model.model_fields))


def json_schema() -> str:
    """The JSON Schema of a scenario file, for editors: what `scenario.schema.json` holds."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Scenario.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
