"""Who has which address in the lab: client - gateway - server, two networks, no default route anywhere.

Rule of this file: documentation addresses only (RFC 5737, RFC 3849), the same for every driver. `lab/compose.yaml`
repeats them because Compose reads no Python; a test compares the two.
"""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network


class Family(Enum):
    """An address family."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(slots=True, frozen=True)
class Addresses:
    """The addresses of one interface."""

    ipv4: str
    ipv6: str

    def of(self, family: Family) -> str:
        """The address of that family."""
        return self.ipv4 if family is Family.IPV4 else self.ipv6


CLIENT, GATEWAY, SERVER = "client", "gateway", "server"
"Names of the three hosts, which are also the names of the Compose services."

CLIENT_ADDRESSES = Addresses("192.0.2.10", "2001:db8:1::10")
GATEWAY_CLIENT_SIDE = Addresses("192.0.2.1", "2001:db8:1::1")
GATEWAY_SERVER_SIDE = Addresses("198.51.100.1", "2001:db8:2::1")
SERVER_ADDRESSES = Addresses("198.51.100.20", "2001:db8:2::20")

CLIENT_NETWORKS = Addresses("192.0.2.0/24", "2001:db8:1::/64")
SERVER_NETWORKS = Addresses("198.51.100.0/24", "2001:db8:2::/64")

TUNNELS = IPv4Network("203.0.113.0/24")
"Addresses inside tunnels. No host has a route to them but through a tunnel, so an answer from there proves one."
TUNNEL_PREFIX_LENGTH = 28

PAYLOAD_PORT = 8080
"Where the server answers HTTP at its end of each tunnel."


@dataclass(slots=True, frozen=True)
class TunnelAddresses:
    """The addresses inside one tunnel."""

    network: IPv4Network

    @property
    def server(self) -> IPv4Address:
        """The server's end."""
        return self.network[1]

    @property
    def client(self) -> IPv4Address:
        """The client's end."""
        return self.network[2]


MAX_TUNNELS = 2 ** (TUNNEL_PREFIX_LENGTH - TUNNELS.prefixlen)


def tunnel_addresses(number: int) -> TunnelAddresses:
    """The addresses inside the tunnel with that number, counted from 0."""
    return TunnelAddresses(list(TUNNELS.subnets(new_prefix=TUNNEL_PREFIX_LENGTH))[number])
