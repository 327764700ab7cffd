"""The arguments about labels that are shipped."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from middlebox.accuracy import arguments
from middlebox.accuracy.arguments import Argument, Ruling, read_arguments

SHIPPED = read_arguments(Path(arguments.__file__).with_name("arguments.yaml")).all


def is_shadowed(argument: Argument, earlier: Argument) -> bool:
    """Whether nothing is left for an argument: the earlier one fits whatever it fits."""
    return (
        fnmatchcase(argument.capture, earlier.capture)
        and fnmatchcase(argument.label, earlier.label)
        and fnmatchcase(argument.said, earlier.said)
    )


def argue(capture: str, label: str, said: str) -> Argument:
    return Argument(capture, label, said, Ruling.OPEN, (), "Why.")


def test_there_are_arguments() -> None:
    assert {argument.ruling for argument in SHIPPED} == set(Ruling)


def test_nothing_is_argued_twice() -> None:
    patterns = [(argument.capture, argument.label, argument.said) for argument in SHIPPED]
    assert len(set(patterns)) == len(patterns)


@pytest.mark.parametrize("argument", SHIPPED, ids=lambda argument: f"{argument.capture} {argument.said}")
def test_every_argument_is_a_sentence(argument: Argument) -> None:
    assert argument.why[0].isupper() or argument.why[0] == "`"
    assert argument.why.endswith(".")
    assert len(argument.why.split()) > 8
    assert "\n" not in argument.why


@pytest.mark.parametrize("argument", SHIPPED, ids=lambda argument: f"{argument.capture} {argument.said}")
def test_only_a_corrected_label_has_another_truth(argument: Argument) -> None:
    assert argument.ruling is Ruling.LABEL or not argument.truth


def test_no_argument_is_shadowed_by_an_earlier_one() -> None:
    for place, argument in enumerate(SHIPPED):
        for earlier in SHIPPED[:place]:
            assert not is_shadowed(argument, earlier), f"{argument} never counts, because of {earlier}"


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        (("lab/*.pcap", "tls", "*"), True),
        (("lab/a?c.pcap", "t*", "doh"), True),
        (("lab/a*.pcap", "quic", "doh"), False),
        (("lab/abc.pcap", "tls", "doh"), False),
        (("dev/*", "tls", "doh"), False),
    ],
)
def test_what_shadows(earlier: tuple[str, str, str], expected: bool) -> None:
    assert is_shadowed(argue("lab/a*c.pcap", "tls", "doh"), argue(*earlier)) is expected
