"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.base import Detector
from middlebox.detect.dns import Dns
from middlebox.detect.dns_loaded_names import DnsLoadedNames
from middlebox.detect.dns_tunnel import DnsTunnel
from middlebox.detect.dnscrypt import DnsCrypt
from middlebox.detect.doh import Doh
from middlebox.detect.doq import Doq
from middlebox.detect.dot import Dot
from middlebox.detect.http import Http
from middlebox.detect.http_proxy import HttpProxy
from middlebox.detect.http_tunnel import HttpTunnel
from middlebox.detect.i2p import I2p
from middlebox.detect.masque import Masque
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.psiphon import Psiphon
from middlebox.detect.quic import Quic
from middlebox.detect.socks4 import Socks4
from middlebox.detect.socks5 import Socks5
from middlebox.detect.ssh import Ssh
from middlebox.detect.ssh_tunnel import SshTunnel
from middlebox.detect.stun import Stun
from middlebox.detect.tls import Tls
from middlebox.detect.ultrasurf import UltraSurf
from middlebox.detect.websocket import WebSocket
from middlebox.detect.wireguard import WireGuard

DETECTORS: tuple[type[Detector], ...] = (
    # Carriers
    Dns,
    Http,
    Quic,
    Ssh,
    Stun,
    Tls,
    # Proxies in clear
    HttpProxy,
    Masque,
    Psiphon,
    Socks4,
    Socks5,
    UltraSurf,
    # Anonymity
    I2p,
    # Encrypted DNS
    DnsCrypt,
    Doh,
    Doq,
    Dot,
    # Tunnels in carriers
    DnsLoadedNames,
    DnsTunnel,
    HttpTunnel,
    SshTunnel,
    WebSocket,
    # VPNs
    OpenVpn,
    WireGuard,
)
"Every detector the engine runs. Statistical ones are asked last."
