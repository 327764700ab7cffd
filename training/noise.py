"""Two models of noise over TCP, from the sizes of a flow's first bursts.

`inner_tls`: does it carry a TLS handshake, as Shadowsocks and VMess mostly do? `obfs4_bursts`: is it obfs4? Both are
asked only of flows that are noise from the first byte on, both ways, and not framed.

Others are, for both: recorded flows of protocols that are not TLS, plain and as if encrypted; recorded flows of
ordinary protocols that are noise, home-made ones and encrypted BitTorrent; made ones with random lengths.
"""

import random
from collections import defaultdict, deque

from common import Example, Row, Trained, train, write_card, write_module, write_roc

from middlebox.detect.size_patterns import BURST_FEATURES, BURSTS, LEAST_BURSTS, burst_features, bursts, split

EARLY_THRESHOLD, THRESHOLD, EARLY_BURSTS = 2.0, 1.0, 5
"""For one flow: the first before so many bursts have ended, when a single small burst can look like a Finished message,
the second from then on. Chosen so that about one in a hundred recorded noisy flows of ordinary protocols is hit."""
MOST_SCORE, LATEST = 2.5, 8
SERVICE_THRESHOLDS = {2: 1.0, 3: -0.5, 4: -1.5, 5: -2.0, 6: -2.5, 7: -3.0, 8: -3.5}
"""For a service: the sum over its latest flows, each cut to MOST_SCORE, by their number. It falls because the training
has several times as many others as wanted flows: a score of -1.5 or so tells as much for one as for the other."""
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
    return tuple(tuple(burst_features(pieces, complete)) for complete in range(1, most + 1))


def segments(length: int, sign: int) -> list[int]:
    """One burst as segments."""
    whole, rest = divmod(length, SEGMENT)
    return [sign * SEGMENT] * whole + ([sign * rest] if rest else [])


def as_proxied(sizes: tuple[int, ...], chance: random.Random) -> list[int]:
    """What a Shadowsocks or VMess relay would make of a TLS flow's bursts."""
    added, salt = chance.choice((0, 18, 34, 34, 34, 52)), chance.choice((16, 16, 24, 32, 32))
    begun: set[int] = set()
    made: list[int] = []
    for run in bursts(sizes):
        sign = 1 if run > 0 else -1
        length = abs(run) + added * (1 + abs(run) // 16_383)
        if sign not in begun:
            begun.add(sign)
            length += salt + (chance.randint(7, 30) + added if sign > 0 else 0)
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


def kind_of(row: Row) -> str | None:
    """What a recorded flow is an example of; None: of nothing here."""
    if row.kind == "proxy" and row.noise and row.label in PROXIES:
        return "shadowsocks-vmess"
    if row.kind == "proxy" and row.noise and row.label.startswith("obfs4"):
        return "obfs4"
    if row.source == "ordinary":
        return "ordinary-noise"
    if row.source == "dev" and row.kind == "ordinary" and "tls" in row.label.lower():
        return "tls"
    if row.kind in ("ordinary", "tunnel", "unknown") and not any(word in row.label.lower() for word in TLS_WORDS):
        return "other"
    return None


def examples_of(flows: list[Row], wanted: str) -> list[Example]:
    """Everything to train on, for the model that looks for `wanted`."""
    chance = random.Random(SEED)
    found = []

    def add(name: str, group: str, sizes: list[int], weight: float) -> None:
        is_wanted = name == wanted or (name == "tls-as-proxied" and wanted == "shadowsocks-vmess")
        found.append(Example(name, group, is_wanted, weight, moments(sizes)))

    for row in flows:
        group = f"{row.source}/{row.capture}/{row.destination}"
        kind = kind_of(row)
        if kind == "tls":
            proxied = as_proxied(row.sizes, chance)
            if wanted == "shadowsocks-vmess":
                add("tls-as-proxied", group, proxied, 0.4)
        elif kind == "other":
            add("other", group, list(row.sizes), 1.0)
            added = chance.choice((16, 18, 34, 48))
            add("other-as-encrypted", group, [one + added if one > 0 else one - added for one in row.sizes], 0.5)
        elif kind == wanted:
            add(wanted, group, list(row.sizes), 1.0)
        elif kind == "ordinary-noise" or (kind == "shadowsocks-vmess" and wanted == "obfs4"):
            add(kind, group, list(row.sizes), 0.5)
    for number in range(600):
        add("random", f"random/{number % 10}", random_exchange(chance, any_length=False), 0.5)
    for number in range(1500):
        add("any-length", f"any-length/{number % 20}", random_exchange(chance, any_length=True), 0.2)
    for number in range(300):
        add("bittorrent", f"bittorrent/{number % 10}", encrypted_bittorrent(chance), 0.5)
    return found


def share_of_flows(trained: Trained, name: str) -> float:
    """The share of these flows that are hit on their own."""
    hits = [
        any(
            score >= (EARLY_THRESHOLD if complete < EARLY_BURSTS else THRESHOLD)
            for complete, score in enumerate(scores, start=1)
            if complete >= LEAST_BURSTS
        )
        for one, scores in zip(trained.examples, trained.all_scores, strict=True)
        if one.name == name
    ]
    return sum(hits) / len(hits) if hits else 0.0


def share_by_service(trained: Trained, name: str) -> float:
    """The share of these flows that are hit by the sum over the latest flows to the same server of a capture."""
    latest: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LATEST))
    hits = flows = 0
    for one, scores in zip(trained.examples, trained.all_scores, strict=True):
        if one.name == name:
            recent = latest[one.group]
            recent.append(max(-MOST_SCORE, min(MOST_SCORE, scores[-1])))
            flows += 1
            number = min(len(recent), max(SERVICE_THRESHOLDS))
            hits += number in SERVICE_THRESHOLDS and sum(recent) >= SERVICE_THRESHOLDS[number]
    return hits / flows if flows else 0.0


TABLE = {
    "shadowsocks-vmess": "Shadowsocks, VMess, recorded",
    "obfs4": "obfs4, recorded",
    "ordinary-noise": "ordinary protocols that are noise, recorded",
    "other": "other protocols, recorded",
    "other-as-encrypted": "the same as if encrypted",
    "random": "random lengths in ranges, made",
    "any-length": "any lengths, made",
    "bittorrent": "encrypted BitTorrent, made",
}
SERVICES = ("shadowsocks-vmess", "obfs4", "ordinary-noise")
"Recorded flows, of which many go to one server."


def run_one(flows: list[Row], name: str, wanted: str, doc: str, card: str) -> None:
    """Train one model, and write its module, picture and card."""
    trained = train(examples_of(flows, wanted), BURST_FEATURES)
    constants: dict[str, object] = {
        "EARLY_THRESHOLD": EARLY_THRESHOLD,
        "THRESHOLD": THRESHOLD,
        "EARLY_BURSTS": EARLY_BURSTS,
        "SERVICE_THRESHOLDS": SERVICE_THRESHOLDS,
        "MOST_SCORE": MOST_SCORE,
    }
    write_module(name, doc, trained.weights, constants)
    names = [one for one in TABLE if len(trained.of(one))]
    write_roc(name, trained.of(wanted), {TABLE[one]: trained.of(one) for one in names if one != wanted})
    lines = []
    for one in names:
        service = f"{share_by_service(trained, one):.4f}" if one in SERVICES else ""
        lines.append(f"| {TABLE[one]} | {len(trained.of(one))} | {share_of_flows(trained, one):.4f} | {service} |")
    write_card(
        name,
        card.format(
            table="\n".join(lines),
            early=EARLY_THRESHOLD,
            one=THRESHOLD,
            bursts=EARLY_BURSTS,
            service=", ".join(f"{sum_} for {number}" for number, sum_ in SERVICE_THRESHOLDS.items()),
            latest=LATEST,
            most=MOST_SCORE,
        ),
    )


def run(flows: list[Row]) -> None:
    """Train both models."""
    doc = "Weights by which a flow of noise is told to carry a TLS handshake, from the sizes of its first bursts."
    run_one(flows, "inner_tls", "shadowsocks-vmess", doc, INNER_TLS + COMMON + INNER_TLS_FAILS)
    doc = "Weights by which a flow of noise is told to be obfs4, from the sizes of its first bursts."
    run_one(flows, "obfs4_bursts", "obfs4", doc, OBFS4 + COMMON + OBFS4_FAILS)


INNER_TLS = """# Model card: inner_tls

**What it answers.** Of a TCP flow that is already known to be noise from its first byte on, in both directions, and not
framed: do the sizes of its first bursts look like a TLS handshake that something carries? Used by `fully_encrypted`,
where it can make `possible` into `probable`, never into `confirmed`.

**Wanted:** recorded Shadowsocks and VMess flows, whatever they carry, and recorded ordinary TLS flows with what such a
proxy would add.
"""

OBFS4 = """# Model card: obfs4_bursts

**What it answers.** Of a TCP flow that is already known to be noise from its first byte on, in both directions, and not
framed: do the sizes of its first bursts look like obfs4, with its openings of up to 8 kB and padded bursts? Used by
`fully_encrypted`, where it can make `possible` into `probable`, never into `confirmed`.

**Wanted:** recorded obfs4 flows in the three iat-modes. Shadowsocks and VMess are among the others here.
"""

COMMON = """
**Features.** The bytes of each of the first six bursts (runs of packets in one direction) and of each one's first
packet, each put into one of 26 classes (`middlebox/detect/size_patterns.py`). Nothing else: no address, port, name, TTL
or time. A burst counts when it has ended; the model is asked each time one ends.

**Method.** Logistic regression with a quadratic penalty (`training/common.py`). The score is a sum of weights, the
log-odds. After Xue and others, USENIX Security 2024, which uses 3-grams and distances between bursts instead, and for
the sum over flows to one service after Wails and others, NDSS 2024.

**Data.** `training/flows/`, see `training/README.md` for what was recorded and how. Others: recorded flows that are not
TLS; the same with 16 to 48 bytes added to each packet; recorded flows of ordinary protocols that are noise (home-made
protocols that encrypt everything, encrypted BitTorrent, files); made ones with random lengths, any or in a range of the
flow's own; made ones of BitTorrent's message stream encryption.

**Thresholds.** One flow is `probable` at {one}, or at {early} while fewer than {bursts} bursts have ended, from the
third burst on. For the latest flows to one service, at most {latest}, the scores are added up, each cut to plus or
minus {most}; they are `probable` from this sum on: {service} or more flows.

**Measured** by five-fold cross-validation; a capture's destination is never in training and test at once. Shares of
flows that are hit.

| Flows | Number | by themselves | by their service |
| --- | --- | --- | --- |
{table}

"""

FAILS = """
- Made and recorded home-made protocols only stand for those out there; real ones in an office or a campus may look
  different. Xue and others report 0.44 % of unknown TCP flows hit with a finer model on a campus. The other recorded
  flows are test captures of public repositories, mostly short, not a sample of any network.
- The recorded proxies are few programs with curl, Go and Python behind them, in a laboratory without loss.
"""

INNER_TLS_FAILS = (
    """![Curve](inner_tls.svg)

**Where it fails.**

- Proxied flows that carry something else than TLS, above all plain HTTP, score like any request and answer; so do
  multiplexed proxies, where many handshakes share one flow. Padding (VMess) makes it worse."""
    + FAILS
)

OBFS4_FAILS = (
    """![Curve](obfs4_bursts.svg)

**Where it fails.**

- Flows whose opening happens to be short; other protocols whose client begins with some kilobytes of noise."""
    + FAILS
)
