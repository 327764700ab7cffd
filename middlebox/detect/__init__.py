"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.amqp import Amqp
from middlebox.detect.base import Detector
from middlebox.detect.bgp import Bgp
from middlebox.detect.bitcoin import Bitcoin
from middlebox.detect.cassandra import Cassandra
from middlebox.detect.dcerpc import Dcerpc
from middlebox.detect.diameter import Diameter
from middlebox.detect.dnp3 import Dnp3
from middlebox.detect.dns import Dns
from middlebox.detect.enip import Enip
from middlebox.detect.ethereum import Ethereum
from middlebox.detect.finger import Finger
from middlebox.detect.fix import Fix
from middlebox.detect.ftp import Ftp
from middlebox.detect.git import Git
from middlebox.detect.http import Http
from middlebox.detect.iec104 import Iec104
from middlebox.detect.imap import Imap
from middlebox.detect.irc import Irc
from middlebox.detect.kerberos import Kerberos
from middlebox.detect.ldap import Ldap
from middlebox.detect.memcached import Memcached
from middlebox.detect.modbus import Modbus
from middlebox.detect.mongodb import Mongodb
from middlebox.detect.mqtt import Mqtt
from middlebox.detect.mssql import Mssql
from middlebox.detect.mysql import Mysql
from middlebox.detect.nntp import Nntp
from middlebox.detect.onc_rpc import OncRpc
from middlebox.detect.opc_ua import OpcUa
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.oracle import Oracle
from middlebox.detect.pop3 import Pop3
from middlebox.detect.postgresql import Postgresql
from middlebox.detect.quic import Quic
from middlebox.detect.rdp import Rdp
from middlebox.detect.redis import Redis
from middlebox.detect.rsync import Rsync
from middlebox.detect.rtmp import Rtmp
from middlebox.detect.rtsp import Rtsp
from middlebox.detect.s7comm import S7comm
from middlebox.detect.smb import Smb
from middlebox.detect.smtp import Smtp
from middlebox.detect.ssh import Ssh
from middlebox.detect.stomp import Stomp
from middlebox.detect.stun import Stun
from middlebox.detect.telnet import Telnet
from middlebox.detect.tls import Tls
from middlebox.detect.vnc import Vnc
from middlebox.detect.whatsapp import Whatsapp
from middlebox.detect.wireguard import WireGuard
from middlebox.detect.x11 import X11
from middlebox.detect.xmpp import Xmpp

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
    WireGuard,
    # Ordinary, over TCP
    Amqp,
    Bgp,
    Bitcoin,
    Cassandra,
    Dcerpc,
    Diameter,
    Dnp3,
    Enip,
    Ethereum,
    Finger,
    Fix,
    Ftp,
    Git,
    Iec104,
    Imap,
    Irc,
    Kerberos,
    Ldap,
    Memcached,
    Modbus,
    Mongodb,
    Mqtt,
    Mssql,
    Mysql,
    Nntp,
    OncRpc,
    OpcUa,
    Oracle,
    Pop3,
    Postgresql,
    Rdp,
    Redis,
    Rsync,
    Rtmp,
    Rtsp,
    S7comm,
    Smb,
    Smtp,
    Stomp,
    Telnet,
    Vnc,
    Whatsapp,
    X11,
    Xmpp,
)
"Every detector the engine runs. Statistical ones are asked last."
