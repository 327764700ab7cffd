"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.ayiya import Ayiya
from middlebox.detect.base import Detector
from middlebox.detect.dns import Dns
from middlebox.detect.geneve import Geneve
from middlebox.detect.gtp import Gtp
from middlebox.detect.http import Http
from middlebox.detect.ip_in_ip import IpInIp
from middlebox.detect.lisp import Lisp
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.quic import Quic
from middlebox.detect.six_in_four import SixInFour
from middlebox.detect.ssh import Ssh
from middlebox.detect.stun import Stun
from middlebox.detect.teredo import Teredo
from middlebox.detect.tls import Tls
from middlebox.detect.vxlan import Vxlan
from middlebox.detect.wireguard import WireGuard

DETECTORS: tuple[type[Detector], ...] = (
    # Carriers
    Dns,
    Http,
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
    # VPNs
    OpenVpn,
    WireGuard,
)
"Every detector the engine runs. Statistical ones are asked last."
