"""The model `inner_tls`: does a flow of noise carry a TLS handshake? From the sizes of its first bursts.

Wanted: recorded Shadowsocks and VMess flows, and recorded ordinary TLS flows with what such a proxy would add.
Others: recorded flows of protocols that are not TLS, plain and as if encrypted, and made ones: requests and answers of
random lengths, and BitTorrent's message stream encryption.
"""

import random

from common import Example, Row, Trained, share_above, train, write_card, write_module, write_roc

from middlebox.detect.size_patterns import BURST_FEATURES, BURSTS, LEAST_BURSTS, burst_features, bursts, split

NAME = "inner_tls"
EARLY_THRESHOLD, THRESHOLD, WEAK_THRESHOLD = 2.5, 1.2, 0.7
"""Chosen on the curves, so that one recorded flow of another protocol in 700 is hit. The first holds before
EARLY_BURSTS have ended, when a single small burst can look like a Finished message, the second from then on. The third
counts only when two flows to one service reach it."""
EARLY_BURSTS = 5
PROXIES = frozenset({"shadowsocks", "shadowsocks-2022", "shadowsocksr", "vmess"})
TLS_WORDS = (
    "tls", "https", "trojan", "vless", "vmess", "ws", "shadowtls", "tor", "openconnect", "dot", "doh", "vpn", "http2",
    "ftps", "softether", "sstp", "yggdrasil", "shadowsocks", "obfs4", "quic", "ssl", "unknown-tls",
)  # fmt: skip
"Labels with one of these are, or may be, TLS themselves and so are no examples of anything else."
SEED = 5
SEGMENT = 1_448


def moments(sizes: list[int]) -> tuple[tuple[int, ...], ...]:
    """The features at each moment at which the detector asks: when a burst has ended."""
    pieces = split(sizes)
    most = min(len(bursts(pieces)) - 1, BURSTS)
    return tuple(tuple(burst_features(pieces, complete)) for complete in range(LEAST_BURSTS, most + 1))


def segments(length: int, sign: int) -> list[int]:
    """One burst as segments."""
    whole, rest = divmod(length, SEGMENT)
    return [sign * SEGMENT] * whole + ([sign * rest] if rest else [])


def as_proxied(sizes: tuple[int, ...], chance: random.Random) -> list[int]:
    """What a Shadowsocks or VMess relay would make of a TLS flow's bursts."""
    added, salt, address = chance.choice((0, 18, 34, 34, 34, 52)), chance.choice((16, 16, 24, 32, 32)), 0
    begun: set[int] = set()
    made: list[int] = []
    for run in bursts(sizes):
        sign = 1 if run > 0 else -1
        length = abs(run) + added * (1 + abs(run) // 16_383)
        if sign not in begun:
            begun.add(sign)
            address = chance.randint(7, 30) + added if sign > 0 else 0
            length += salt + address
        made += segments(length, sign)
    return made


def random_exchange(chance: random.Random, *, any_length: bool) -> list[int]:
    """Requests and answers of random lengths: any, or in a range that each flow has of its own."""
    asked, answered = (30, 1500), (50, 9000)
    if not any_length:
        asked = chance.choice(((30, 1500), (20, 300), (50, 600), (100, 1400)))
        answered = chance.choice(((50, 9000), (20, 600), (50, 1500), (200, 20_000)))
    made: list[int] = []
    for _ in range(8):
        made += segments(chance.randint(*asked), 1) + segments(chance.randint(*answered), -1)
    return made


def encrypted_bittorrent(chance: random.Random) -> list[int]:
    """Message stream encryption: keys of 96 bytes with up to 512 of padding, then BitTorrent's messages."""
    made = segments(96 + chance.randint(0, 512), 1) + segments(96 + chance.randint(0, 512), -1)
    made += segments(46 + chance.randint(0, 512) + 68, 1)
    made += segments(14 + chance.randint(0, 512) + 68 + chance.choice((0, 100, 300, 600)), -1)
    for _ in range(6):
        made += segments(chance.choice((5, 10, 17, 34, 85, 120, 300)), 1)
        made += segments(chance.choice((5, 9, 17, 300, 3_296, 11_584, 16_397)), -1)
    return made


def is_proxy(row: Row) -> bool:
    """A recorded flow of the wanted kind."""
    return row.kind == "proxy" and row.label in PROXIES and row.noise > 0


def examples_of(flows: list[Row]) -> list[Example]:
    """Everything to train on."""
    chance = random.Random(SEED)
    found = []

    def add(name: str, group: str, sizes: list[int], weight: float, *, wanted: bool = False) -> None:
        found.append(Example(name, group, wanted, weight, moments(sizes)))

    for row in flows:
        group = f"{row.source}/{row.capture}/{row.destination}"
        if is_proxy(row):
            add("proxy", group, list(row.sizes), 1.0, wanted=True)
        elif row.source == "dev" and row.kind == "ordinary" and "tls" in row.label.lower():
            add("tls-as-proxied", group, as_proxied(row.sizes, chance), 0.4, wanted=True)
        elif row.kind in ("ordinary", "tunnel", "unknown") and not any(word in row.label.lower() for word in TLS_WORDS):
            add("other", group, list(row.sizes), 1.0)
            added = chance.choice((16, 18, 34, 48))
            add("other-as-encrypted", group, [one + added if one > 0 else one - added for one in row.sizes], 0.5)
    for number in range(600):
        add("random", f"random/{number % 10}", random_exchange(chance, any_length=False), 0.5)
    for number in range(1500):
        add("any-length", f"any-length/{number % 20}", random_exchange(chance, any_length=True), 0.2)
    for number in range(300):
        add("bittorrent", f"bittorrent/{number % 10}", encrypted_bittorrent(chance), 0.5)
    return found


def run(flows: list[Row]) -> None:
    """Train, and write the module, the picture and the card."""
    trained = train(examples_of(flows), BURST_FEATURES)
    doc = "Weights by which a flow of noise is told to carry a TLS handshake, from the sizes of its first bursts."
    constants = {"EARLY_THRESHOLD": EARLY_THRESHOLD, "THRESHOLD": THRESHOLD, "WEAK_THRESHOLD": WEAK_THRESHOLD}
    write_module(NAME, doc, trained.weights, {**constants, "EARLY_BURSTS": EARLY_BURSTS})
    proxy = trained.of("proxy")
    others = {
        "other protocols, recorded": trained.of("other"),
        "the same as if encrypted": trained.of("other-as-encrypted"),
        "random lengths in ranges, made": trained.of("random"),
        "any lengths, made": trained.of("any-length"),
        "encrypted BitTorrent, made": trained.of("bittorrent"),
    }
    write_roc(NAME, proxy, others)
    lines = []
    for label, name in (("Shadowsocks, VMess: recorded", "proxy"), *zip(others, NAMES, strict=True)):
        lines.append(
            f"| {label} | {len(trained.of(name))} | {share_hit(trained, name):.4f} | "
            f"{share_above(trained.of(name), WEAK_THRESHOLD):.4f} |"
        )
    write_card(NAME, CARD.format(table="\n".join(lines), early=EARLY_THRESHOLD, one=THRESHOLD, weak=WEAK_THRESHOLD))


NAMES = ("other", "other-as-encrypted", "random", "any-length", "bittorrent")


def share_hit(trained: Trained, name: str) -> float:
    """The share of these flows that the detector would call probable on their own."""
    hits = [
        any(
            score >= (EARLY_THRESHOLD if place + LEAST_BURSTS < EARLY_BURSTS else THRESHOLD)
            for place, score in enumerate(scores)
        )
        for one, scores in zip(trained.examples, trained.all_scores, strict=True)
        if one.name == name
    ]
    return sum(hits) / len(hits) if hits else 0.0


CARD = """# Model card: inner_tls

**What it answers.** Of a TCP flow that is already known to be noise from its first byte on, in both directions: do the
sizes of its first bursts look like a TLS handshake that something carries? Used by `fully_encrypted`, where it can
make `possible` into `probable`, never into `confirmed`.

**Features.** The bytes of each of the first six bursts (runs of packets in one direction) and of each one's first
packet, each put into one of 26 classes (`middlebox/detect/size_patterns.py`). Nothing else: no address, port, name, TTL
or time. A burst counts when it has ended; the model is asked each time one ends, from the third on, and the highest
score counts.

**Method.** Logistic regression with a quadratic penalty (`training/common.py`). After Xue and others, USENIX Security
2024, which uses 3-grams and distances between bursts instead.

**Data.** `training/flows/`, see `training/README.md` for what was recorded and how. Wanted: recorded Shadowsocks and
VMess flows, whatever they carry, and recorded ordinary TLS flows with what a proxy would add. Others: recorded flows
that are not TLS; the same with 16 to 48 bytes added to each packet; made ones with random lengths, any or in a range
of the flow's own; made ones of BitTorrent's message stream encryption.

**Measured** by five-fold cross-validation; a capture's destination is never in training and test at once. Shares of
flows that reach a threshold. One flow becomes `probable` at {one}, or at {early} before its fifth burst has ended; at
{weak} it does when two of the latest eight flows to one service reach that.

| Flows | Number | one flow ({early}, {one}) | two flows ({weak}) |
| --- | --- | --- | --- |
{table}

![Curve](inner_tls.svg)

**Where it fails.**

- Proxied flows that carry something else than TLS, above all plain HTTP: they score like any request and answer.
- Multiplexed proxies, where many handshakes share one flow, and padding (VMess with it is found less often).
- Made flows only stand for home-made protocols; real ones in an office or a campus may look different. Xue and others
  report 0.44 % of unknown TCP flows hit with a finer model on a campus. The recorded others are test captures of
  public repositories, mostly short, not a sample of any network.
- The recorded proxies are few programs (shadowsocks-libev, sing-box, V2Ray, pproxy) with curl, Go and Python behind
  them, in a laboratory without loss; browsers were not recorded.
"""
