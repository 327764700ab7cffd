"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.ayiya import Ayiya
from middlebox.detect.bacnet import Bacnet
from middlebox.detect.base import Detector
from middlebox.detect.bgp import Bgp
from middlebox.detect.dnp3 import Dnp3
from middlebox.detect.dns import Dns
from middlebox.detect.eigrp import Eigrp
from middlebox.detect.encrypted_datagrams import EncryptedDatagrams
from middlebox.detect.enip import Enip
from middlebox.detect.fastd import Fastd
from middlebox.detect.fully_encrypted import FullyEncrypted
from middlebox.detect.geneve import Geneve
from middlebox.detect.gtp import Gtp
from middlebox.detect.http import Http
from middlebox.detect.icmp import Icmp
from middlebox.detect.icmp_tunnel import IcmpTunnel
from middlebox.detect.iec104 import Iec104
from middlebox.detect.igmp import Igmp
from middlebox.detect.ip_in_ip import IpInIp
from middlebox.detect.lisp import Lisp
from middlebox.detect.mkcp import Mkcp
from middlebox.detect.modbus import Modbus
from middlebox.detect.n2n import N2n
from middlebox.detect.nats import Nats
from middlebox.detect.nebula import Nebula
from middlebox.detect.opc_ua import OpcUa
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.ospf import Ospf
from middlebox.detect.pim import Pim
from middlebox.detect.quic import Quic
from middlebox.detect.s7comm import S7comm
from middlebox.detect.sctp import Sctp
from middlebox.detect.simple_obfs import SimpleObfs
from middlebox.detect.six_in_four import SixInFour
from middlebox.detect.ssh import Ssh
from middlebox.detect.stun import Stun
from middlebox.detect.teredo import Teredo
from middlebox.detect.tinc import Tinc
from middlebox.detect.tls import Tls
from middlebox.detect.vless import Vless
from middlebox.detect.vmess import VMess
from middlebox.detect.vrrp import Vrrp
from middlebox.detect.vtun import Vtun
from middlebox.detect.vxlan import Vxlan
from middlebox.detect.wireguard import WireGuard
from middlebox.detect.yggdrasil import Yggdrasil
from middlebox.detect.yggdrasil_tls import YggdrasilTls
from middlebox.detect.zerotier import ZeroTier

DETECTORS: tuple[type[Detector], ...] = (
    # Carriers
    Dns,
    Http,
    Icmp,
    Quic,
    Ssh,
    Stun,
    Tls,
    # Encapsulations
    Ayiya,
    Geneve,
    Gtp,
    IpInIp,
    Lisp,
    SixInFour,
    Teredo,
    Vxlan,
    # Covert tunnels
    IcmpTunnel,
    # Infrastructure
    Bacnet,
    Bgp,
    Dnp3,
    Eigrp,
    Enip,
    Iec104,
    Igmp,
    Modbus,
    OpcUa,
    Ospf,
    Pim,
    S7comm,
    Sctp,
    Vrrp,
    # Mesh overlays
    Fastd,
    N2n,
    Nebula,
    Tinc,
    Vtun,
    Yggdrasil,
    YggdrasilTls,
    ZeroTier,
    # VPNs
    OpenVpn,
    WireGuard,
    # Obfuscated proxies
    EncryptedDatagrams,
    FullyEncrypted,
    Mkcp,
    SimpleObfs,
    Vless,
    VMess,
    # Message brokers
    Nats,
)
"Every detector the engine runs. Statistical ones are asked last."
