"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.ah import Ah
from middlebox.detect.anytls import AnyTls
from middlebox.detect.base import Detector
from middlebox.detect.cisco_udp import CiscoUdp
from middlebox.detect.dns import Dns
from middlebox.detect.dtls import Dtls
from middlebox.detect.encrypted_datagrams import EncryptedDatagrams
from middlebox.detect.esp import Esp
from middlebox.detect.fully_encrypted import FullyEncrypted
from middlebox.detect.gre import Gre
from middlebox.detect.gre_in_udp import GreInUdp
from middlebox.detect.hamachi import Hamachi
from middlebox.detect.http import Http
from middlebox.detect.ipsec import Ipsec
from middlebox.detect.l2tp import L2tp
from middlebox.detect.l2tp_ip import L2tpIp
from middlebox.detect.masque import Masque
from middlebox.detect.mkcp import Mkcp
from middlebox.detect.openconnect_dtls import OpenconnectDtls
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.pptp import Pptp
from middlebox.detect.pptp_data import PptpData
from middlebox.detect.quic import Quic
from middlebox.detect.quic_proxies import QuicProxies
from middlebox.detect.shadowtls import ShadowTls
from middlebox.detect.simple_obfs import SimpleObfs
from middlebox.detect.snowflake import Snowflake
from middlebox.detect.softether_udp import SoftetherUdp
from middlebox.detect.ssh import Ssh
from middlebox.detect.ssl_vpn import SslVpn
from middlebox.detect.stun import Stun
from middlebox.detect.tls import Tls
from middlebox.detect.tls_in_tls import TlsInTls
from middlebox.detect.tls_tunnel import TlsTunnel
from middlebox.detect.tls_websocket import TlsWebSocket
from middlebox.detect.tor import Tor
from middlebox.detect.wireguard import WireGuard

DETECTORS: tuple[type[Detector], ...] = (
    # Carriers
    Dtls,
    Dns,
    Http,
    Quic,
    Ssh,
    Stun,
    Tls,
    # VPNs
    CiscoUdp,
    Hamachi,
    OpenconnectDtls,
    SoftetherUdp,
    SslVpn,
    Ah,
    Esp,
    Gre,
    GreInUdp,
    Ipsec,
    L2tp,
    L2tpIp,
    Pptp,
    PptpData,
    OpenVpn,
    WireGuard,
    # Obfuscated proxies
    EncryptedDatagrams,
    FullyEncrypted,
    Mkcp,
    SimpleObfs,
    # Inside TLS or QUIC
    AnyTls,
    Masque,
    QuicProxies,
    ShadowTls,
    Snowflake,
    TlsInTls,
    TlsTunnel,
    TlsWebSocket,
    Tor,
)
"Every detector the engine runs. Statistical ones are asked last."
