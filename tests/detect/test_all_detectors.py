"""Laws that every detector keeps. They loop over DETECTORS and SAMPLES, so a new detector is held to them unasked."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.detect import DETECTORS
from middlebox.detect.base import TCP, Conversation, Detector
from middlebox.evidence import Answer, Confidence, Evidence, Opinion
from middlebox.flow import Kinds, Opener
from middlebox.protocols import CATEGORY_OF
from tests.detect.conversations import Message, datagrams, last_evidence, stream
from tests.detect.sample import Sample
from tests.detect.samples import LOOKALIKES, SAMPLES

every_detector = pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: kind.name)

ALL_SAMPLES = [sample for samples in SAMPLES.values() for sample in samples]
PREFIX_STEP = 13
"Of exchanges that are another detector's, only every so many prefixes are tried: their number grows with the square."
TRAILING = b"\x00\xfftrailing bytes\r\n\r\n\x00"


def feed(kind: type[Detector], transport: int, messages: Sequence[Message], segment: int = 1460) -> Iterator[Answer]:
    """What a new detector of this kind answers to an exchange."""
    return stream(kind(), messages, segment=segment) if transport == TCP else datagrams(kind(), messages)


def feed_sample(kind: type[Detector], sample: Sample, segment: int = 1460) -> Iterator[Answer]:
    """What a new detector of this kind answers to a sample."""
    if sample.times:
        assert sample.transport == TCP
        return stream(kind(), sample.messages, segment=segment, times=sample.times)
    return feed(kind, sample.transport, sample.messages, segment)


def finding(answers: Iterable[Answer]) -> tuple[object, ...] | None:
    """What the last evidence says, whether or not more is to come."""
    evidence = last_evidence(answers)
    return (evidence.protocol, evidence.confidence, evidence.reason, dict(evidence.facts)) if evidence else None


def is_confirmed(answers: Iterable[Answer]) -> bool:
    """Whether the last evidence is confirmed."""
    evidence = last_evidence(answers)
    return evidence is not None and evidence.confidence is Confidence.CONFIRMED


def samples_of(kind: type[Detector]) -> list[Sample]:
    return SAMPLES.get(kind.name, [])


def is_within(name: str, kind: type[Detector]) -> bool:
    """Whether the detector of this name is `kind` or builds on it: what is inside TLS is rightly called TLS, too."""
    other = next(other for other in DETECTORS if other.name == name)
    below = [one for one in DETECTORS if one is not other and not set(other.builds_on).isdisjoint(one.protocols)]
    return other is kind or any(is_within(one.name, kind) for one in below)


mutated = st.builds(
    lambda data, start, end, at, byte: (data[:at] + bytes([byte]) + data[at + 1 :])[start:end],
    st.sampled_from([data for sample in ALL_SAMPLES for _, data in sample.messages]),
    st.integers(0, 4),
    st.one_of(st.none(), st.integers(1, 300)),
    st.integers(0, 300),
    st.integers(0, 255),
)
payloads = st.one_of(st.binary(min_size=1, max_size=80), mutated.filter(bool))


@settings(max_examples=400)
@given(messages=st.lists(st.tuples(st.booleans(), payloads), max_size=8), segment=st.sampled_from([1, 7, 1460]))
def test_any_bytes_in_either_direction_get_an_answer(messages: list[Message], segment: int) -> None:
    # All detectors in one test: to make up the messages takes longer than to feed them to everybody.
    for kind in DETECTORS:
        for transport in kind.transports:
            answers = feed(kind, transport, messages, segment)
            assert all(isinstance(answer, (Evidence, Opinion)) for answer in answers), kind.name


def may_begin(kind: type[Detector], transport: int, message: Message, *, midstream: bool = False) -> bool:
    """Whether the engine makes this detector for a flow that begins with this message."""
    from_client, data = message
    opener = Opener.CLIENT if from_client else Opener.SERVER
    if transport != TCP or midstream:
        opener = Opener.EITHER
    return bool(Kinds.of([kind], transport).meant_by(opener, data[0]))


@pytest.mark.parametrize("kind", [kind for kind in DETECTORS if not kind.builds_on], ids=lambda kind: kind.name)
def test_first_bytes_of_samples_are_declared(kind: type[Detector]) -> None:
    for sample in samples_of(kind):
        assert may_begin(kind, sample.transport, sample.messages[0]), sample.name
        # What answers is not filtered, but declared all the same: of TCP connections joined later it may be the first.
        for side, begins in ((True, kind.client_begins), (False, kind.server_begins)):
            said = [data for from_client, data in sample.messages if from_client is side]
            assert sample.transport != TCP or not said or said[0][0] in begins, sample.name


def check_that_not_asking_loses_nothing(kind: type[Detector], message: Message, *, midstream: bool = False) -> None:
    """A detector that is not made for a flow with this first message must have answered NO to it."""
    for transport in () if kind.builds_on else kind.transports:
        if not may_begin(kind, transport, message, midstream=midstream):
            detector = kind()
            is_tcp = transport == TCP
            answers = stream(detector, [message], midstream=midstream) if is_tcp else datagrams(detector, [message])
            assert next(answers) is Opinion.NO, message


@every_detector
def test_no_first_byte_that_is_not_declared_is_the_protocols(kind: type[Detector]) -> None:
    own = {data[1:] for sample in samples_of(kind) for _, data in sample.messages[:2]}
    for first in range(256):
        for rest in (b"", *own):
            for from_client in (True, False):
                message = (from_client, bytes((first,)) + rest)
                check_that_not_asking_loses_nothing(kind, message)
                check_that_not_asking_loses_nothing(kind, message, midstream=True)


@settings(max_examples=200)
@given(data=payloads, from_client=st.booleans(), midstream=st.booleans())
def test_not_asking_loses_nothing(data: bytes, from_client: bool, midstream: bool) -> None:
    for kind in DETECTORS:
        check_that_not_asking_loses_nothing(kind, (from_client, data), midstream=midstream)


@every_detector
def test_every_prefix_of_every_sample_gets_an_answer(kind: type[Detector]) -> None:
    for sample in ALL_SAMPLES + LOOKALIKES:
        if sample.transport in kind.transports:
            for index, (from_client, data) in enumerate(sample.messages):
                mine = sample in SAMPLES.get(kind.name, ())
                for end in range(1, min(len(data), 1500), 1 if mine else PREFIX_STEP):
                    cut = (*sample.messages[:index], (from_client, data[:end]))
                    answers = feed(kind, sample.transport, cut)
                    assert all(isinstance(answer, (Evidence, Opinion)) for answer in answers)


@every_detector
def test_samples_are_recognised_as_listed(kind: type[Detector]) -> None:
    for sample in samples_of(kind):
        evidence = last_evidence(feed_sample(kind, sample))
        assert evidence, sample.name
        assert (evidence.protocol, evidence.confidence) == (sample.protocol, sample.confidence), sample.name


@pytest.mark.parametrize("kind", [kind for kind in DETECTORS if not kind.statistical], ids=lambda kind: kind.name)
def test_tcp_segments_and_trailing_bytes_change_nothing(kind: type[Detector]) -> None:
    for sample in samples_of(kind):
        if sample.transport == TCP:
            whole = finding(feed_sample(kind, sample, segment=1 << 16))
            from_client, last = sample.messages[-1]
            longer = (*sample.messages[:-1], (from_client, last + TRAILING))
            assert finding(feed_sample(kind, sample, segment=1)) == whole, f"{sample.name}: byte by byte"
            assert finding(feed_sample(kind, sample, segment=3)) == whole, f"{sample.name}: in threes"
            for segment in (1, 1 << 16):
                assert finding(feed(kind, TCP, longer, segment)) == whole, f"{sample.name}: longer, by {segment}"


@every_detector
def test_the_same_evidence_is_never_given_twice(kind: type[Detector]) -> None:
    for sample in samples_of(kind):
        given = [finding([answer]) for answer in feed_sample(kind, sample, segment=1)]
        told = [evidence for evidence in given if evidence]
        assert all(first != second for first, second in pairwise(told)), sample.name


@every_detector
def test_interleaved_flows_learn_nothing_from_each_other(kind: type[Detector]) -> None:
    for first in ALL_SAMPLES:
        for second in samples_of(kind):
            if first.transport in kind.transports:
                alone = [list(feed_sample(kind, first)), list(feed_sample(kind, second))]
                together: list[list[Answer]] = [[], []]
                for answers in zip_longest(feed_sample(kind, first), feed_sample(kind, second)):
                    for mine, answer in zip(together, answers, strict=True):
                        mine.extend([answer] if answer is not None else [])
                assert together == alone, f"{first.name} beside {second.name}"


@every_detector
def test_an_answer_in_another_flow_links_nothing(kind: type[Detector]) -> None:
    for sample in samples_of(kind):
        asked = [message for message in sample.messages if message[0]]
        answered = [message for message in sample.messages if not message[0]]
        if is_confirmed(feed_sample(kind, sample)) and not is_confirmed(feed(kind, sample.transport, asked)):
            assert not is_confirmed(feed(kind, sample.transport, answered)), sample.name


@every_detector
def test_other_protocols_are_never_confirmed(kind: type[Detector]) -> None:
    others = [sample for name, samples in SAMPLES.items() if not is_within(name, kind) for sample in samples]
    for sample in others + LOOKALIKES:
        if sample.transport in kind.transports and sample.protocol not in kind.protocols:
            assert not is_confirmed(feed_sample(kind, sample)), sample.name


@every_detector
def test_a_sample_reaches_the_declared_confidence_in_time(kind: type[Detector]) -> None:
    def packets_until_reached(sample: Sample) -> int | None:
        for number, answer in enumerate(feed_sample(kind, sample), start=1):
            if isinstance(answer, Evidence) and answer.confidence >= kind.reaches:
                return number
        return None

    counts = [packets_until_reached(sample) for sample in samples_of(kind)]
    reached = [count for count in counts if count is not None]
    assert reached, f"no sample in SAMPLES[{kind.name!r}] reaches {kind.reaches.word}"
    assert min(reached) <= kind.packets_needed


@every_detector
def test_evidence_stays_within_what_is_declared(kind: type[Detector]) -> None:
    for sample in ALL_SAMPLES + LOOKALIKES:
        if sample.transport in kind.transports:
            for answer in feed_sample(kind, sample):
                if isinstance(answer, Evidence):
                    assert answer.protocol in kind.protocols
                    assert set(answer.facts) <= set(kind.facts)
                    assert answer.confidence <= kind.reaches
                    assert answer.reason


@every_detector
def test_class_attributes_are_sane(kind: type[Detector]) -> None:
    assert kind.transports
    assert set(kind.transports) <= set(range(256))
    assert kind.protocols
    assert set(kind.protocols) <= set(CATEGORY_OF)
    for fact in kind.facts:
        assert "." in fact.strip("."), f"{fact} is not a dotted name"
    assert isinstance(kind.reaches, Confidence)
    assert kind.packets_needed >= 1
    assert kind.misses.endswith(".")
    assert set(kind.builds_on) <= {name for other in DETECTORS for name in other.protocols}
    assert not kind.statistical or kind.reaches <= Confidence.PROBABLE
    assert kind.remembers is None or kind.memory is not object
    assert not kind.unwraps or kind.unwrap is not Detector.unwrap


def test_detector_names_are_unique_and_have_samples() -> None:
    names = [kind.name for kind in DETECTORS]
    assert len(names) == len(set(names))
    assert set(SAMPLES) == set(names), "SAMPLES and DETECTORS name different detectors"


@every_detector
def test_feed_leaves_the_conversation_alone(kind: type[Detector]) -> None:
    for sample in samples_of(kind):
        for from_client, data in sample.messages:
            talk = Conversation()
            talk.data, talk.from_client, talk.packet, talk.size = data, from_client, 1, len(data)
            if sample.transport == TCP:
                talk.client, talk.server = (data, b"") if from_client else (b"", data)
            before = [getattr(talk, name) for name in Conversation.__slots__]
            kind().feed(talk)
            assert [getattr(talk, name) for name in Conversation.__slots__] == before
