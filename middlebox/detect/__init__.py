"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.amneziawg import AmneziaWg
from middlebox.detect.base import Detector
from middlebox.detect.bittorrent import BitTorrent
from middlebox.detect.cloudflare_warp import CloudflareWarp
from middlebox.detect.coap import Coap
from middlebox.detect.dhcp import Dhcp
from middlebox.detect.dhcpv6 import Dhcpv6
from middlebox.detect.dns import Dns
from middlebox.detect.generic_udp_vpn import GenericUdpVpn
from middlebox.detect.http import Http
from middlebox.detect.llmnr import Llmnr
from middlebox.detect.mdns import Mdns
from middlebox.detect.nats import Nats
from middlebox.detect.nbdgm import Nbdgm
from middlebox.detect.nbns import Nbns
from middlebox.detect.ntp import Ntp
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.openvpn_cbc import OpenVpnCbc
from middlebox.detect.openvpn_data import OpenVpnData
from middlebox.detect.openvpn_in_tls import OpenVpnInTls
from middlebox.detect.openvpn_patterns import OpenVpnPatterns
from middlebox.detect.quic import Quic
from middlebox.detect.radius import Radius
from middlebox.detect.rtcp import Rtcp
from middlebox.detect.rtp import Rtp
from middlebox.detect.sip import Sip
from middlebox.detect.snmp import Snmp
from middlebox.detect.ssdp import Ssdp
from middlebox.detect.ssh import Ssh
from middlebox.detect.stun import Stun
from middlebox.detect.syslog import Syslog
from middlebox.detect.tailscale import Tailscale
from middlebox.detect.tailscale_derp import TailscaleDerp
from middlebox.detect.tftp import Tftp
from middlebox.detect.tls import Tls
from middlebox.detect.utp import Utp
from middlebox.detect.wireguard import WireGuard
from middlebox.detect.wireguard_late import WireGuardLate

DETECTORS: tuple[type[Detector], ...] = (
    # Carriers
    Dns,
    Http,
    Quic,
    Ssh,
    Stun,
    Tls,
    # VPNs
    OpenVpn,
    OpenVpnData,
    OpenVpnPatterns,
    OpenVpnCbc,
    OpenVpnInTls,
    WireGuard,
    WireGuardLate,
    AmneziaWg,
    CloudflareWarp,
    Tailscale,
    TailscaleDerp,
    GenericUdpVpn,
    # Message brokers
    Nats,
    # Ordinary protocols over UDP
    BitTorrent,
    Coap,
    Dhcp,
    Dhcpv6,
    Llmnr,
    Mdns,
    Nbdgm,
    Nbns,
    Ntp,
    Radius,
    Rtcp,
    Rtp,
    Sip,
    Snmp,
    Ssdp,
    Syslog,
    Tftp,
    Utp,
)
"Every detector the engine runs. Statistical ones are asked last."
