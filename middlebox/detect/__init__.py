"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.base import Detector
from middlebox.detect.dns import Dns
from middlebox.detect.encrypted_datagrams import EncryptedDatagrams
from middlebox.detect.fully_encrypted import FullyEncrypted
from middlebox.detect.http import Http
from middlebox.detect.mkcp import Mkcp
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.quic import Quic
from middlebox.detect.simple_obfs import SimpleObfs
from middlebox.detect.ssh import Ssh
from middlebox.detect.stun import Stun
from middlebox.detect.tls import Tls
from middlebox.detect.wireguard import WireGuard

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
    # Obfuscated proxies
    EncryptedDatagrams,
    FullyEncrypted,
    Mkcp,
    SimpleObfs,
)
"Every detector the engine runs. Statistical ones are asked last."
