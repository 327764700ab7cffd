"""The server's certificate in TLS up to 1.2: a real one however it is cut, and streams that hold none."""

import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from middlebox.detect.base import STREAM_LIMIT
from middlebox.detect.certificate import CertificateReader
from middlebox.detect.tls import Tls
from middlebox.evidence import Opinion
from tests.detect.conversations import last_evidence, stream
from tests.detect.hellos import tls_handshake

DER = bytes(range(256)) * 3
HELLO = b"\x02\0\0\x03abc"


def message(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3) + body


def chain(*certificates: bytes) -> bytes:
    listed = b"".join(len(one).to_bytes(3) + one for one in certificates)
    return message(11, len(listed).to_bytes(3) + listed)


def record(content: bytes, kind: int = 22) -> bytes:
    return bytes((kind, 3, 3)) + len(content).to_bytes(2) + content


def read_in_pieces(said: bytes, size: int) -> str | Opinion:
    reader = CertificateReader()
    answer: str | Opinion = Opinion.MORE
    for end in range(size, len(said) + size, size):
        answer = reader.read(said[:end])
        if answer is not Opinion.MORE:
            break
    return answer


@pytest.mark.parametrize("segment", [1, 7, 1460, 65536])
def test_the_certificate_of_a_real_handshake_is_reported(tmp_path: Path, segment: int) -> None:
    client, server, *_ = tls_handshake(tmp_path, ssl.TLSVersion.TLSv1_2)
    evidence = last_evidence(list(stream(Tls(), [client, server], segment=segment)))
    assert evidence
    pem = (tmp_path / "chain.pem").read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert evidence.facts["tls.certificate_sha256"] == hashlib.sha256(der).hexdigest()


def test_tls_1_3_hides_it(tmp_path: Path) -> None:
    evidence = last_evidence(list(stream(Tls(), tls_handshake(tmp_path, ssl.TLSVersion.TLSv1_3))))
    assert evidence
    assert "tls.certificate_sha256" not in evidence.facts


@given(cut=st.integers(1, 800), size=st.integers(1, 900), warned=st.booleans())
def test_records_and_segments_make_no_difference(cut: int, size: int, warned: bool) -> None:
    content = HELLO + chain(DER, b"authority")
    said = record(b"\x01\x70", 21) if warned else b""
    said += b"".join(record(content[at : at + cut]) for at in range(0, len(content), cut))
    assert read_in_pieces(said, size) == hashlib.sha256(DER).hexdigest()


@pytest.mark.parametrize(
    "said",
    [
        record(HELLO) + record(b"\x01", 20),  # a session resumed
        record(HELLO + message(14, b"")),  # no certificate at all
        record(HELLO + message(11, b"\0\0\0")),
        record(HELLO + message(11, b"\0\0\x05\0\0\x09ab")),  # longer than its list
        record(HELLO + message(11, b"\0\0\x03\0\0\0")),
        record(HELLO) + b"GET / HTTP/1.1\r\n",
        record(b"\x02\0\xff\xff" + bytes(100)) + record(bytes(STREAM_LIMIT - 300)) + bytes(300),
    ],
)
def test_no_certificate(said: bytes) -> None:
    assert read_in_pieces(said, 100) is Opinion.NO


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_read_alike_however_they_are_cut(said: bytes, size: int) -> None:
    whole, cut = CertificateReader().read(said), read_in_pieces(said, size)
    assert whole == cut or not said
