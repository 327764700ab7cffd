"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.amneziawg import AmneziaWg
from middlebox.detect.base import Detector
from middlebox.detect.cloudflare_warp import CloudflareWarp
from middlebox.detect.dns import Dns
from middlebox.detect.generic_udp_vpn import GenericUdpVpn
from middlebox.detect.http import Http
from middlebox.detect.nats import Nats
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.openvpn_cbc import OpenVpnCbc
from middlebox.detect.openvpn_data import OpenVpnData
from middlebox.detect.openvpn_in_tls import OpenVpnInTls
from middlebox.detect.openvpn_patterns import OpenVpnPatterns
from middlebox.detect.quic import Quic
from middlebox.detect.ssh import Ssh
from middlebox.detect.stun import Stun
from middlebox.detect.tailscale import Tailscale
from middlebox.detect.tailscale_derp import TailscaleDerp
from middlebox.detect.tls import Tls
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
)
"Every detector the engine runs. Statistical ones are asked last."
