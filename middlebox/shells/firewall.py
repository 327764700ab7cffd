"""The kernel hook: one chain that decides what user space has decided before.

`render_iptables` and `render_nft` are pure; the rest runs the system's firewall programs. The rule kept here: nothing
but our own chain (iptables: `MIDDLEBOX`, nft: `table inet middlebox`) and the jumps to it is ever touched, and every
change is one transaction per address family, so no packet meets half a chain.

How the chain works. User space answers a settled packet by setting verdict and epoch as the packet's mark and asking
netfilter to repeat the hook. On its second way the packet itself meets the rules for its verdict, after the chain
has saved the mark to the connection; every later packet of the connection is answered by that saved mark. Marks
of another epoch match nothing, so replacing the chain with a new epoch brings every open connection back to user space.
Connection tracking forgets a connection whose very first packet is discarded, so such a flow has no mark: each of its
packets asks user space again.

A SYN takes the mark off its connection. Connection tracking may take the next connection on the same ports for the one
that was refused, and that may be for another site at the same address.

A throttled connection's mark names its rate. Each direction has a bucket of one second's bytes, and what does not fit
is discarded (see `THROTTLE_BUCKET_SECONDS`).

To pass means to go on with the gateway's own rules: our chain only ever refuses. So a packet that passes while its
flow is undecided is sent round once more, too, with a mark that nothing saves.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from middlebox.shells.errors import InputError, MachineError
from middlebox.verdict import Verdict

CHAIN = "MIDDLEBOX"
"Our chain in iptables' and ip6tables' filter table."
NFT_TABLE = "inet middlebox"
"Our table in nftables."

DEFAULT_MARK_MASK = 0xFFF00000
"The upper 12 bits: 5 for the verdict, 7 for the epoch. Others (Kubernetes, Tailscale, wg-quick) use lower bits."
VERDICT_BITS = 5
"Codes: 1 to 4 are the verdicts of these numbers, 8 to 30 throttle at one rate each, 31 is `Marks.seen`."
FIRST_RATE_CODE = 8
MAX_RATES = 23
SAVED_VERDICTS = (Verdict.PASS, Verdict.DROP, Verdict.RESET, Verdict.REJECT)
"The verdicts that need no rate. DNS is answered packet by packet, so it settles nothing."
THROTTLE_BUCKET_SECONDS = 1
"""How much of its rate a throttled direction may send at once, after a pause. Both kernel limiters have this bucket
when no burst is asked for: xt_hashlimit caps a direction's credit there, nft_limit adds its burst to it. A TCP sender
that lost a whole window waits 0.2 s to 1 s before it tries again (RFC 6298 section 2.1, Linux' TCP_RTO_MIN); what it
may send meanwhile is not lost to it. Smaller buckets starve TCP, larger ones let short downloads pass unthrottled."""
MAX_PACKET_BYTES = 65_535
"The longest packet that `-m length` can name: an offloaded one of the greatest IPv4 length."
THROTTLED_DIRECTIONS = 65_535
"Buckets in an nft set; a new direction is not throttled while all are taken."
THROTTLE_IDLE_SECONDS = 60
"An nft bucket is forgotten after this time without a packet. It has been full again for long by then."
MARK_BITS = 32
MAX_QUEUE_NUMBER = 0xFFFF
"Queue numbers have 16 bits (linux/netfilter/nfnetlink_queue.h, `res_id` of the message header)."

_INTERFACE_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,15}")  # IFNAMSIZ is 16 with its final zero (linux/if.h)
_COMMAND_SECONDS = 30
_LOCK_SECONDS = "5"  # how long iptables waits for another program that holds its lock


@dataclass(slots=True, frozen=True)
class Marks:
    """How a verdict is written into the bits of a mark that are ours."""

    mask: int = DEFAULT_MARK_MASK
    "Our bits: one contiguous run."
    epoch: int = 1
    "Written next to the verdict, modulo `epochs`: a mark is mistaken for a current one only after that many epochs."
    rates: tuple[int, ...] = ()
    "The rates of THROTTLE, bits a second: distinct, in rising order."

    def __post_init__(self) -> None:
        mask = self.mask
        lowest = mask & -mask
        if not 0 < mask < 1 << MARK_BITS or (mask + lowest) & mask or mask.bit_count() <= VERDICT_BITS:
            raise InputError(
                f"mark mask {mask:#x} is not usable: expected one contiguous run of at least {VERDICT_BITS + 1} bits "
                f"within {MARK_BITS}, for instance {DEFAULT_MARK_MASK:#x}"
            )
        if len(self.rates) > MAX_RATES:
            raise InputError(
                f"the policy throttles at {len(self.rates)} different rates: expected at most {MAX_RATES}; "
                "give rules that are nearly the same the same rate"
            )

    @property
    def epochs(self) -> int:
        """How many epochs the mask can tell apart."""
        return 1 << (self.mask.bit_count() - VERDICT_BITS)

    @property
    def seen(self) -> int:
        """The mark of a packet that passes while its flow is undecided: all our bits, whatever the epoch."""
        return self.mask  # no code has all verdict bits set

    def encode(self, verdict: Verdict, rate: int | None = None) -> int:
        """The mark, within the mask, that tells the chain to carry out `verdict` in this epoch.

        THROTTLE needs one of `rates`. Raises ValueError for another one, and for what a connection cannot keep.
        """
        if verdict is Verdict.THROTTLE and rate in self.rates:
            code = FIRST_RATE_CODE + self.rates.index(rate)
        elif verdict in SAVED_VERDICTS:
            code = int(verdict)
        else:
            raise ValueError(f"no mark for {verdict.name} at {rate} bit/s")
        field = code | (self.epoch % self.epochs) << VERDICT_BITS
        return field * (self.mask & -self.mask)


@dataclass(slots=True, frozen=True)
class HookSettings:
    """Everything the text of the hook depends on."""

    queue_num: int = 0
    "The first queue number."
    queues: int = 1
    "How many queues, numbered on from the first. The kernel spreads address pairs over them."
    mark_mask: int = DEFAULT_MARK_MASK
    epoch: int = 1
    no_listener_open: bool = True
    "Pass packets while no program listens on the queue; otherwise they are dropped."
    interfaces: tuple[str, str] | None = None
    "Inspect only what is forwarded between these two interfaces; None: all that is forwarded."
    rates: tuple[int, ...] = ()
    "Distinct rates of the policy's throttling rules in rising order, bits a second."

    def __post_init__(self) -> None:
        if self.queues < 1 or not 0 <= self.queue_num <= MAX_QUEUE_NUMBER - self.queues + 1:
            raise InputError(
                f"queues {self.queue_num} to {self.queue_num + self.queues - 1} are not usable: expected one or more "
                f"numbers from 0 to {MAX_QUEUE_NUMBER}"
            )
        for name in self.interfaces or ():
            if not _INTERFACE_NAME.fullmatch(name) or name.startswith("-"):
                raise InputError(f"'{name}' is not an interface name: expected two names, for instance eth0:eth1")
        _ = self.marks  # refuses a bad mask here and not when the first packet is judged

    @property
    def marks(self) -> Marks:
        """The marks that this hook understands."""
        return Marks(self.mark_mask, self.epoch, self.rates)


@dataclass(slots=True, frozen=True)
class HookCounters:
    """What the chain did, in packets. An offloaded packet of many segments counts once."""

    queued: int = 0
    "Sent to user space."
    accepted: int = 0
    "Passed on to the gateway's own rules."
    dropped: int = 0
    rejected: int = 0

    def __add__(self, other: "HookCounters") -> "HookCounters":
        return HookCounters(
            self.queued + other.queued,
            self.accepted + other.accepted,
            self.dropped + other.dropped,
            self.rejected + other.rejected,
        )


class Backend(Enum):
    """Which of the kernel's two firewall interfaces carries the hook."""

    NFT = "nft"
    IPTABLES = "iptables"


@dataclass(slots=True, frozen=True)
class Leftover:
    """A hook of ours found in the kernel."""

    backend: Backend
    queue_nums: tuple[int, ...]
    "The queues that its chain sends packets to; empty when it was cut short while being made."


# ---------------------------------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------------------------------


def render_iptables(settings: HookSettings, *, ipv6: bool = False, stale_jumps: Sequence[str] = ()) -> str:
    """Input for `iptables-restore --noflush` (or ip6tables-restore): make or replace chain and jumps.

    Args:
        settings: What to render.
        ipv6: Render for ip6tables.
        stale_jumps: Rule specifications of jumps that exist and are replaced, for instance `FORWARD -j MIDDLEBOX`.
    """
    marks, mask = settings.marks, f"{settings.mark_mask:#010x}"
    prohibited = "icmp6-adm-prohibited" if ipv6 else "icmp-admin-prohibited"
    icmp = "ipv6-icmp" if ipv6 else "icmp"

    def act(match: str) -> Iterator[str]:
        """Carry out whichever verdict the given kind of mark holds."""
        for verdict in SAVED_VERDICTS:
            marked = f"-m {match} --mark {marks.encode(verdict):#010x}/{mask}"
            if verdict is Verdict.PASS:
                yield f"{marked} -j RETURN"
            elif verdict is Verdict.DROP:
                yield f"{marked} -j DROP"
            else:
                yield f"-p tcp {marked} -j REJECT --reject-with tcp-reset"
                yield f"{marked} -j REJECT --reject-with {prohibited}"
        for rate in settings.rates:
            marked = f"-m {match} --mark {marks.encode(Verdict.THROTTLE, rate):#010x}/{mask}"
            yield from _iptables_police(marked, rate)
            yield f"{marked} -j RETURN"

    rules = [
        # A SYN asks for a new connection: what was decided about an earlier one on the same ports is void.
        f"-p tcp --syn -m connmark ! --mark 0/{mask} -j CONNMARK --set-xmark 0/{mask}",
        *act("connmark"),
        f"-m mark --mark {marks.seen:#010x}/{mask} -j RETURN",
        f"-m mark ! --mark 0/{mask} -j CONNMARK --save-mark --nfmask {mask} --ctmask {mask}",
        *act("mark"),
        # An ICMP error belongs to the connection it speaks of: a mark saved for it would settle that connection.
        f"-p {icmp} -m conntrack --ctstate RELATED -j RETURN",
        _iptables_queue(settings),
    ]
    lines = [
        "*filter",
        f":{CHAIN} - [0:0]",  # with --noflush this makes the chain, or empties the one that is there
        *(f"-D {jump}" for jump in stale_jumps),
        *(f"-I FORWARD 1{interfaces} -j {CHAIN}" for interfaces in _iptables_interfaces(settings)),
        *(f"-A {CHAIN} {rule}" for rule in rules),
        "COMMIT",
    ]
    return "\n".join(lines) + "\n"


def _iptables_police(marked: str, rate: int) -> Iterator[str]:
    """Discard what is above the rate, each direction of each pair of addresses and ports for itself."""
    limit = bytes_a_second(rate)
    bucket = limit * THROTTLE_BUCKET_SECONDS
    if bucket < MAX_PACKET_BYTES:
        # An offloaded packet larger than the bucket would cost xt_hashlimit no more than the whole bucket.
        yield f"{marked} -m length --length {bucket + 1}:{MAX_PACKET_BYTES} -j DROP"
    # The bucket belongs to the name, so replacing the chain refills none. IPv4 and IPv6 have tables of their own.
    yield (
        f"{marked} -m hashlimit --hashlimit-above {limit}b/s --hashlimit-mode srcip,srcport,dstip,dstport "
        f"--hashlimit-name middlebox-{rate} -j DROP"
    )


def bytes_a_second(rate: int) -> int:
    """A rate in bits as the kernel's limiters take it: bytes a second, at least one."""
    return max(1, rate // 8)


def _iptables_queue(settings: HookSettings) -> str:
    last = settings.queue_num + settings.queues - 1
    queue = f"--queue-balance {settings.queue_num}:{last}" if settings.queues > 1 else f"--queue-num {last}"
    bypass = " --queue-bypass" if settings.no_listener_open else ""
    return f"-j NFQUEUE {queue}{bypass}"


def _iptables_interfaces(settings: HookSettings) -> list[str]:
    if settings.interfaces is None:
        return [""]
    first, second = settings.interfaces
    return [f" -i {first} -o {second}", f" -i {second} -o {first}"]


def render_nft(settings: HookSettings) -> str:
    """Input for `nft -f`: make or replace our table, both address families at once."""
    marks, mask = settings.marks, settings.mark_mask
    ours, others = f"{mask:#010x}", f"{mask ^ 0xFFFFFFFF:#010x}"

    def carrying(match: str, mark: int) -> str:
        marked = f"{match} & {ours} == {mark:#010x}"
        if match == "meta mark":
            # nft cannot copy masked bits from one mark to the other, but it can set them to a constant.
            marked += f" ct mark set ct mark & {others} | {mark:#010x}"
        return marked

    def act(match: str) -> Iterator[str]:
        for verdict in SAVED_VERDICTS:
            marked = carrying(match, marks.encode(verdict))
            if verdict is Verdict.PASS:
                yield f"{marked} counter accept"
            elif verdict is Verdict.DROP:
                yield f"{marked} counter drop"
            else:
                yield f"meta l4proto tcp {marked} counter reject with tcp reset"
                yield f"{marked} counter reject with icmpx admin-prohibited"
        for rate in settings.rates:
            yield f"{carrying(match, marks.encode(Verdict.THROTTLE, rate))} goto throttle-{rate}"

    first, last = settings.queue_num, settings.queue_num + settings.queues - 1
    queue = f"{first}-{last}" if last > first else f"{first}"
    bypass = " bypass" if settings.no_listener_open else ""
    rules = [
        # A SYN asks for a new connection: what was decided about an earlier one on the same ports is void.
        f"tcp flags & (fin | syn | rst | ack) == syn ct mark & {ours} != 0 ct mark set ct mark & {others}",
        *act("ct mark"),
        f"meta mark & {ours} == {marks.seen:#010x} counter accept",
        *act("meta mark"),
        # An ICMP error belongs to the connection it speaks of: a mark saved for it would settle that connection.
        "meta l4proto { icmp, ipv6-icmp } ct state related counter accept",
        f"counter queue num {queue}{bypass}",
    ]
    if settings.interfaces is None:
        jumps = ["jump judge"]
    else:
        inner, outer = settings.interfaces
        jumps = [f'iifname "{a}" oifname "{b}" jump judge' for a, b in ((inner, outer), (outer, inner))]
    lines = [
        f"table {NFT_TABLE}",  # so that the next line never fails
        f"delete table {NFT_TABLE}",
        f"table {NFT_TABLE} {{",
        *(f"\t{line}" for rate in settings.rates for line in _nft_police(rate)),
        "\tchain judge {",
        *(f"\t\t{rule}" for rule in rules),
        "\t}",
        "\tchain forward {",
        "\t\ttype filter hook forward priority filter; policy accept;",
        *(f"\t\t{jump}" for jump in jumps),
        "\t}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _nft_police(rate: int) -> Iterator[str]:
    """The sets of buckets of one rate, and the chain that discards what does not fit into them."""
    rules = []
    for family, address in (("ip", "ipv4_addr"), ("ip6", "ipv6_addr")):
        for kind, key, types in (
            ("ports", f"{family} saddr . th sport . {family} daddr . th dport", f"{address} . inet_service . " * 2),
            ("hosts", f"{family} saddr . {family} daddr", f"{address} . " * 2),
        ):
            name = f"{family}-{kind}-{rate}"
            yield (
                f"set {name} {{ type {types}inet_proto; flags dynamic,timeout; "
                f"timeout {THROTTLE_IDLE_SECONDS}s; size {THROTTLED_DIRECTIONS}; }}"
            )
            with_ports = "meta l4proto { tcp, udp } " if kind == "ports" else "meta l4proto != { tcp, udp } "
            rules.append(
                f"{with_ports}update @{name} {{ {key} . meta l4proto "
                f"limit rate over {bytes_a_second(rate)} bytes/second }} counter drop"
            )
    yield f"chain throttle-{rate} {{"
    yield from (f"\t{rule}" for rule in rules)
    yield "\tcounter accept"
    yield "}"


@dataclass(slots=True, frozen=True)
class SavedChain:
    """Our chain as iptables-save showed it."""

    exists: bool
    jumps: tuple[str, ...]
    "Rule specifications that lead to it, each beginning with the name of the chain it stands in."
    queue_nums: tuple[int, ...]
    counters: HookCounters


_SAVED_RULE = re.compile(r"(?:\[(?P<packets>\d+):\d+\] )?-A (?P<rule>(?P<chain>\S+) .*)")
_SAVED_QUEUE = re.compile(r"--queue-(?:num|balance) (\d+)(?::(\d+))?")


def parse_iptables_save(text: str) -> SavedChain:
    """Find our chain, the jumps to it and its counters in the output of `iptables-save -c -t filter`."""
    exists = False
    jumps: list[str] = []
    queues: list[int] = []
    packets = dict.fromkeys(("NFQUEUE", "RETURN", "DROP", "REJECT"), 0)
    for line in text.splitlines():
        exists = exists or line.startswith(f":{CHAIN} ")
        found = _SAVED_RULE.fullmatch(line)
        if found is None:
            continue
        rule = found["rule"]
        if rule.endswith(f" -j {CHAIN}"):
            jumps.append(rule)
        elif found["chain"] == CHAIN:
            target = rule.partition(" -j ")[2].partition(" ")[0]
            if target in packets:
                packets[target] += int(found["packets"] or 0)
            if queue := _SAVED_QUEUE.search(rule):
                queues.extend(range(int(queue[1]), int(queue[2] or queue[1]) + 1))
    counters = HookCounters(packets["NFQUEUE"], packets["RETURN"], packets["DROP"], packets["REJECT"])
    return SavedChain(exists, tuple(jumps), tuple(queues), counters)


def parse_nft_table(text: str) -> tuple[tuple[int, ...], HookCounters]:
    """Find the queue numbers and counters in the output of `nft -j list table inet middlebox`."""
    packets = dict.fromkeys(("queue", "accept", "drop", "reject"), 0)
    queues: list[int] = []
    for item in json.loads(text)["nftables"]:
        seen = 0
        for expression in item.get("rule", {}).get("expr", ()):
            for name, value in expression.items():
                if name == "counter":
                    seen = value["packets"]
                elif name in packets:
                    packets[name] += seen
                if name == "queue":
                    number = value["num"]
                    first, last = number["range"] if isinstance(number, dict) else (number, number)
                    queues.extend(range(first, last + 1))
    return tuple(queues), HookCounters(packets["queue"], packets["accept"], packets["drop"], packets["reject"])


# ---------------------------------------------------------------------------------------------------------------------
# The system's programs
# ---------------------------------------------------------------------------------------------------------------------

_FAMILIES = ((False, "iptables"), (True, "ip6tables"))


def probe(settings: HookSettings) -> Backend:
    """Choose the firewall interface that can carry the hook on this kernel: nft where it knows `queue`.

    Raises:
        MachineError: Neither can.
    """
    problems = []
    for backend in Backend:
        problem = check(backend, settings)
        if problem is None:
            return backend
        problems.append(f"{backend.value}: {problem}")
    raise MachineError(
        f"this machine cannot queue packets to user space ({'; '.join(problems)})",
        "run `apt-get install iptables nftables` and `modprobe -a nfnetlink_queue xt_NFQUEUE`, "
        "or boot a distribution kernel",
    )


def check(backend: Backend, settings: HookSettings) -> str | None:
    """Ask the kernel whether it would take the hook, without installing it. None: it would; else what it said."""
    try:
        if backend is Backend.NFT:
            done = _run(["nft", "-c", "-f", "-"], render_nft(settings))
        else:
            done = _run(["iptables-restore", "--test", "--noflush", "-w", _LOCK_SECONDS], render_iptables(settings))
    except MachineError as error:
        return error.message
    return _first_complaint(done) if done.returncode else None


def apply(backend: Backend, settings: HookSettings) -> None:
    """Install the hook, or replace the one that is there, in one transaction per address family.

    Raises:
        MachineError: The kernel refused it. What was installed for the other address family is removed again.
    """
    try:
        if backend is Backend.NFT:
            _change(["nft", "-f", "-"], render_nft(settings))
        else:
            for ipv6, program in _FAMILIES:
                stale = _saved(program).jumps
                text = render_iptables(settings, ipv6=ipv6, stale_jumps=stale)
                _change([f"{program}-restore", "--noflush", "-w", _LOCK_SECONDS], text)
    except MachineError:
        remove(backend)
        raise


def detach(backend: Backend) -> None:
    """Send no more packets to the queue; what waits in the queue keeps waiting for its verdict.

    Only the jumps go. Whenever a netfilter hook is unregistered, the kernel drops all packets that are queued, and
    that happens with an nft base chain as well as with the last rule that uses connection tracking. So the chain
    with its rules stays until `remove`.
    """
    if backend is Backend.IPTABLES:
        for _, program in _FAMILIES:
            _delete(program, [f"-D {jump}" for jump in _saved(program).jumps])
    elif find_leftovers((backend,)):
        _change(["nft", "flush", "chain", *NFT_TABLE.split(), "forward"])


def remove(backend: Backend) -> None:
    """Take our chain and our jumps out. Does nothing where there are none."""
    if backend is Backend.NFT:
        if find_leftovers((backend,)):
            _change(["nft", "delete", "table", *NFT_TABLE.split()])
        return
    for _, program in _FAMILIES:
        saved = _saved(program)
        lines = [f"-D {jump}" for jump in saved.jumps]
        if saved.exists:
            lines += [f"-F {CHAIN}", f"-X {CHAIN}"]
        _delete(program, lines)


def find_leftovers(backends: Iterable[Backend] = Backend) -> list[Leftover]:
    """Hooks of ours that are in the kernel now. A firewall program that is missing has none."""
    found = []
    for backend in backends:
        try:
            if backend is Backend.NFT:
                listed = _run(["nft", "-j", "list", "table", *NFT_TABLE.split()])
                if listed.returncode == 0:
                    found.append(Leftover(backend, parse_nft_table(listed.stdout)[0]))
            else:
                chains = [_saved(program) for _, program in _FAMILIES]
                if any(chain.exists for chain in chains):
                    found.append(Leftover(backend, tuple(sorted({n for chain in chains for n in chain.queue_nums}))))
        except MachineError:
            continue
    return found


def read_counters(backend: Backend) -> HookCounters:
    """What the installed chain has done since it was installed or replaced, both address families together."""
    if backend is Backend.NFT:
        listed = _run(["nft", "-j", "list", "table", *NFT_TABLE.split()])
        return parse_nft_table(listed.stdout)[1] if listed.returncode == 0 else HookCounters()
    return sum((_saved(program).counters for _, program in _FAMILIES), HookCounters())


def load_nft(text: str) -> None:
    """Let nft carry out a text in one transaction.

    Raises:
        MachineError: nft is missing, or the kernel refused.
    """
    _change(["nft", "-f", "-"], text)


def complaint_about(text: str) -> str | None:
    """What nft or the kernel has against a text for `nft -f`, without carrying it out; None: nothing."""
    try:
        done = _run(["nft", "-c", "-f", "-"], text)
    except MachineError as error:
        return str(error)
    return _first_complaint(done) if done.returncode else None


def remove_nft_table(name: str) -> None:
    """Delete a table of nftables. Does nothing where there is none, or no nft."""
    try:
        if _run(["nft", "list", "table", *name.split()]).returncode:
            return
    except MachineError:
        return
    _change(["nft", "delete", "table", *name.split()])


def _saved(program: str) -> SavedChain:
    done = _run([f"{program}-save", "-c", "-t", "filter"])
    return parse_iptables_save(done.stdout)


def _delete(program: str, lines: Sequence[str]) -> None:
    if lines:
        text = "\n".join(["*filter", *lines, "COMMIT"]) + "\n"
        _change([f"{program}-restore", "--noflush", "-w", _LOCK_SECONDS], text)


def _change(arguments: Sequence[str], text: str = "") -> None:
    done = _run(arguments, text)
    if done.returncode:
        raise MachineError(
            f"{arguments[0]} refused the kernel hook ({_first_complaint(done)})",
            "run `modprobe -a nfnetlink_queue xt_NFQUEUE xt_connmark`, or try another --hook",
        )


def _first_complaint(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith("#")]
    return lines[0] if lines else f"exit status {done.returncode}"


def _run(arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a firewall program. It gets its own process group, so that Ctrl-C cannot stop it half-way."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    try:
        return subprocess.run(
            arguments,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_SECONDS,
            env=environment,
            process_group=0,
        )
    except FileNotFoundError:
        package = "nftables" if arguments[0] == "nft" else "iptables"
        raise MachineError(f"{arguments[0]} is not installed", f"run `apt-get install {package}`") from None
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"{arguments[0]} did not answer within {_COMMAND_SECONDS} s", "see which program holds /run/xtables.lock"
        ) from None
