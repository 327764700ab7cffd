"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.ah import Ah
from middlebox.detect.amneziawg import AmneziaWg
from middlebox.detect.amqp import Amqp
from middlebox.detect.anytls import AnyTls
from middlebox.detect.ayiya import Ayiya
from middlebox.detect.bacnet import Bacnet
from middlebox.detect.base import Detector
from middlebox.detect.bgp import Bgp
from middlebox.detect.bitcoin import Bitcoin
from middlebox.detect.bittorrent import BitTorrent
from middlebox.detect.cassandra import Cassandra
from middlebox.detect.cisco_udp import CiscoUdp
from middlebox.detect.cloudflare_warp import CloudflareWarp
from middlebox.detect.coap import Coap
from middlebox.detect.dcerpc import Dcerpc
from middlebox.detect.dhcp import Dhcp
from middlebox.detect.dhcpv6 import Dhcpv6
from middlebox.detect.diameter import Diameter
from middlebox.detect.dnp3 import Dnp3
from middlebox.detect.dns import Dns
from middlebox.detect.dns_loaded_names import DnsLoadedNames
from middlebox.detect.dns_tunnel import DnsTunnel
from middlebox.detect.dnscrypt import DnsCrypt
from middlebox.detect.doh import Doh
from middlebox.detect.doq import Doq
from middlebox.detect.dot import Dot
from middlebox.detect.dtls import Dtls
from middlebox.detect.eigrp import Eigrp
from middlebox.detect.encrypted_datagrams import EncryptedDatagrams
from middlebox.detect.enip import Enip
from middlebox.detect.esp import Esp
from middlebox.detect.ethereum import Ethereum
from middlebox.detect.ethereum_discovery import EthereumDiscovery
from middlebox.detect.fastd import Fastd
from middlebox.detect.finger import Finger
from middlebox.detect.fix import Fix
from middlebox.detect.ftp import Ftp
from middlebox.detect.fully_encrypted import FullyEncrypted
from middlebox.detect.generic_udp_vpn import GenericUdpVpn
from middlebox.detect.geneve import Geneve
from middlebox.detect.git import Git
from middlebox.detect.gre import Gre
from middlebox.detect.gre_in_udp import GreInUdp
from middlebox.detect.gtp import Gtp
from middlebox.detect.hamachi import Hamachi
from middlebox.detect.http import Http
from middlebox.detect.http_proxy import HttpProxy
from middlebox.detect.http_tunnel import HttpTunnel
from middlebox.detect.i2p import I2p
from middlebox.detect.icmp import Icmp
from middlebox.detect.icmp_tunnel import IcmpTunnel
from middlebox.detect.iec104 import Iec104
from middlebox.detect.igmp import Igmp
from middlebox.detect.imap import Imap
from middlebox.detect.iodine_raw import IodineRaw
from middlebox.detect.ip_in_ip import IpInIp
from middlebox.detect.ipsec import Ipsec
from middlebox.detect.irc import Irc
from middlebox.detect.kerberos import Kerberos
from middlebox.detect.l2tp import L2tp
from middlebox.detect.l2tp_ip import L2tpIp
from middlebox.detect.ldap import Ldap
from middlebox.detect.lisp import Lisp
from middlebox.detect.llmnr import Llmnr
from middlebox.detect.masque import Masque
from middlebox.detect.mdns import Mdns
from middlebox.detect.meek import Meek
from middlebox.detect.memcached import Memcached
from middlebox.detect.mkcp import Mkcp
from middlebox.detect.modbus import Modbus
from middlebox.detect.mongodb import Mongodb
from middlebox.detect.mqtt import Mqtt
from middlebox.detect.mssql import Mssql
from middlebox.detect.mysql import Mysql
from middlebox.detect.n2n import N2n
from middlebox.detect.nats import Nats
from middlebox.detect.nbdgm import Nbdgm
from middlebox.detect.nbns import Nbns
from middlebox.detect.nebula import Nebula
from middlebox.detect.nntp import Nntp
from middlebox.detect.ntp import Ntp
from middlebox.detect.onc_rpc import OncRpc
from middlebox.detect.opc_ua import OpcUa
from middlebox.detect.openconnect_dtls import OpenconnectDtls
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.openvpn_cbc import OpenVpnCbc
from middlebox.detect.openvpn_data import OpenVpnData
from middlebox.detect.openvpn_in_tls import OpenVpnInTls
from middlebox.detect.openvpn_patterns import OpenVpnPatterns
from middlebox.detect.oracle import Oracle
from middlebox.detect.ospf import Ospf
from middlebox.detect.pim import Pim
from middlebox.detect.pop3 import Pop3
from middlebox.detect.postgresql import Postgresql
from middlebox.detect.pptp import Pptp
from middlebox.detect.pptp_data import PptpData
from middlebox.detect.psiphon import Psiphon
from middlebox.detect.quic import Quic
from middlebox.detect.quic_proxies import QuicProxies
from middlebox.detect.radius import Radius
from middlebox.detect.rdp import Rdp
from middlebox.detect.redis import Redis
from middlebox.detect.rsync import Rsync
from middlebox.detect.rtcp import Rtcp
from middlebox.detect.rtmp import Rtmp
from middlebox.detect.rtp import Rtp
from middlebox.detect.rtsp import Rtsp
from middlebox.detect.s7comm import S7comm
from middlebox.detect.sctp import Sctp
from middlebox.detect.shadowtls import ShadowTls
from middlebox.detect.simple_obfs import SimpleObfs
from middlebox.detect.sip import Sip
from middlebox.detect.six_in_four import SixInFour
from middlebox.detect.smb import Smb
from middlebox.detect.smtp import Smtp
from middlebox.detect.snmp import Snmp
from middlebox.detect.snowflake import Snowflake
from middlebox.detect.socks4 import Socks4
from middlebox.detect.socks5 import Socks5
from middlebox.detect.softether_udp import SoftetherUdp
from middlebox.detect.ssdp import Ssdp
from middlebox.detect.ssh import Ssh
from middlebox.detect.ssh_tunnel import SshTunnel
from middlebox.detect.ssl_vpn import SslVpn
from middlebox.detect.stomp import Stomp
from middlebox.detect.stun import Stun
from middlebox.detect.syslog import Syslog
from middlebox.detect.tailscale import Tailscale
from middlebox.detect.tailscale_derp import TailscaleDerp
from middlebox.detect.telnet import Telnet
from middlebox.detect.teredo import Teredo
from middlebox.detect.tftp import Tftp
from middlebox.detect.tinc import Tinc
from middlebox.detect.tls import Tls
from middlebox.detect.tls_in_tls import TlsInTls
from middlebox.detect.tls_tunnel import TlsTunnel
from middlebox.detect.tls_websocket import TlsWebSocket
from middlebox.detect.tor import Tor
from middlebox.detect.trojan import Trojan
from middlebox.detect.ultrasurf import UltraSurf
from middlebox.detect.utp import Utp
from middlebox.detect.vless import Vless
from middlebox.detect.vmess import VMess
from middlebox.detect.vnc import Vnc
from middlebox.detect.vrrp import Vrrp
from middlebox.detect.vtun import Vtun
from middlebox.detect.vxlan import Vxlan
from middlebox.detect.websocket import WebSocket
from middlebox.detect.whatsapp import Whatsapp
from middlebox.detect.wireguard import WireGuard
from middlebox.detect.wireguard_late import WireGuardLate
from middlebox.detect.x11 import X11
from middlebox.detect.xmpp import Xmpp
from middlebox.detect.yggdrasil import Yggdrasil
from middlebox.detect.yggdrasil_tls import YggdrasilTls
from middlebox.detect.zerotier import ZeroTier

DETECTORS: tuple[type[Detector], ...] = (
    # Carriers
    Dtls,
    Dns,
    Http,
    Icmp,
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
    IodineRaw,
    SshTunnel,
    WebSocket,
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
    OpenVpnData,
    OpenVpnPatterns,
    OpenVpnCbc,
    OpenVpnInTls,
    WireGuard,
    # Obfuscated proxies
    EncryptedDatagrams,
    FullyEncrypted,
    Mkcp,
    SimpleObfs,
    Trojan,
    Vless,
    VMess,
    # Message brokers
    Nats,
    # Ordinary, over TCP
    Amqp,
    Bitcoin,
    Cassandra,
    Dcerpc,
    Diameter,
    Ethereum,
    EthereumDiscovery,
    Finger,
    Fix,
    Ftp,
    Git,
    Imap,
    Irc,
    Kerberos,
    Ldap,
    Memcached,
    Mongodb,
    Mqtt,
    Mssql,
    Mysql,
    Nntp,
    OncRpc,
    Oracle,
    Pop3,
    Postgresql,
    Rdp,
    Redis,
    Rsync,
    Rtmp,
    Rtsp,
    Smb,
    Smtp,
    Stomp,
    Telnet,
    Vnc,
    Whatsapp,
    X11,
    Xmpp,
    # Inside TLS or QUIC
    AnyTls,
    QuicProxies,
    ShadowTls,
    Snowflake,
    Meek,
    TlsInTls,
    TlsTunnel,
    TlsWebSocket,
    Tor,
    WireGuardLate,
    AmneziaWg,
    CloudflareWarp,
    Tailscale,
    TailscaleDerp,
    GenericUdpVpn,
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
