"""Certificate chains as the web has them: one small ECDSA certificate up to three RSA ones of 5 kB together.

Rule of this file: keys of one run, thrown away with it.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from middlebox.lab.keys import write_private

_VALIDITY = timedelta(days=80)
"Short enough for browsers, which refuse more than 398 days."
_CERTIFICATE_TIMESTAMPS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
"RFC 6962 section 3.3: real certificates carry two or three signed timestamps of about 120 bytes each."
_DOMAIN_VALIDATED = x509.ObjectIdentifier("2.23.140.1.2.1")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(slots=True, frozen=True)
class Shape:
    """How a chain looks.

    Args:
        leaf: Key of the server's certificate: `ec256`, `ec384`, `rsa2048`, ...
        issuer: Key of each intermediate certificate.
        intermediates: How many of them the server sends.
        names: Further names in the server's certificate.
    """

    leaf: str
    issuer: str
    intermediates: int
    names: int


SHAPES: tuple[Shape, ...] = (
    Shape("ec256", "ec256", 0, 1),
    Shape("rsa2048", "rsa2048", 0, 3),
    Shape("rsa2048", "rsa2048", 1, 5),
    Shape("rsa2048", "rsa4096", 1, 30),
    Shape("ec256", "ec384", 1, 3),
    Shape("ec256", "rsa2048", 1, 12),
    Shape("rsa2048", "rsa2048", 2, 10),
    Shape("rsa4096", "rsa4096", 1, 8),
    Shape("ec256", "ec256", 1, 70),
    Shape("ec384", "rsa4096", 2, 20),
)


def site_name(index: int) -> str:
    """The domain of the site with the chain of that index."""
    return f"site{index}.example"


def write_chains(directory: Path, seed: int) -> None:
    """Write `ca.crt`, and for each shape `chainN.crt` and `chainN.key`, to a directory."""
    numbers = random.Random(f"chains {seed}")
    roots = {kind: _Issuer.root(kind) for kind in sorted({shape.issuer for shape in SHAPES})}
    bundle = b"".join(_pem(root.certificate) for root in roots.values())
    (directory / "ca.crt").write_bytes(bundle)
    for index, shape in enumerate(SHAPES):
        issuer = roots[shape.issuer]
        chain: list[x509.Certificate] = []
        for _ in range(shape.intermediates):
            issuer = issuer.intermediate(shape.issuer, numbers)
            chain.insert(0, issuer.certificate)
        key = _new_key(shape.leaf)
        name = site_name(index)
        names = [name, f"*.{name}"] + [f"{_word(numbers)}.{name}" for _ in range(shape.names)]
        leaf = issuer.issue(name, key, names, numbers)
        (directory / f"chain{index}.crt").write_bytes(b"".join(_pem(each) for each in [leaf, *chain]))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(directory / f"chain{index}.key", private)


def _new_key(kind: str) -> PrivateKey:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(ec.SECP256R1() if kind == "ec256" else ec.SECP384R1())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _word(numbers: random.Random) -> str:
    return "".join(numbers.choices("abcdefghijklmnopqrstuvwxyz", k=numbers.randint(3, 14)))


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Trust Services"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


@dataclass(slots=True, frozen=True)
class _Issuer:
    name: x509.Name
    key: PrivateKey
    certificate: x509.Certificate

    @classmethod
    def root(cls, kind: str) -> "_Issuer":
        key, name = _new_key(kind), _name(f"Example Root {kind}")
        return cls(name, key, _authority(name, key, name, key))

    def intermediate(self, kind: str, numbers: random.Random) -> "_Issuer":
        key, name = _new_key(kind), _name(f"Example R{numbers.randint(1, 99)}")
        return _Issuer(name, key, _authority(name, key, self.name, self.key))

    def issue(self, common: str, key: PrivateKey, names: list[str], numbers: random.Random) -> x509.Certificate:
        timestamps = x509.UnrecognizedExtension(_CERTIFICATE_TIMESTAMPS, numbers.randbytes(241))
        policy = x509.PolicyInformation(_DOMAIN_VALIDATED, ["http://cps.example/statement"])
        usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
        return (
            _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]), key, self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.CertificatePolicies([policy]), critical=False)
            .add_extension(timestamps, critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _authority(name: x509.Name, key: PrivateKey, issuer: x509.Name, issuer_key: PrivateKey) -> x509.Certificate:
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    return (
        _builder(name, key, issuer, issuer_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _builder(name: x509.Name, key: PrivateKey, issuer: x509.Name, issuer_key: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
