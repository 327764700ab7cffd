"""All detectors, as a written list. Adding a protocol means one file here and one line below."""

from middlebox.detect.ayiya import Ayiya
from middlebox.detect.base import Detector
from middlebox.detect.dns import Dns
from middlebox.detect.fastd import Fastd
from middlebox.detect.geneve import Geneve
from middlebox.detect.gtp import Gtp
from middlebox.detect.http import Http
from middlebox.detect.ip_in_ip import IpInIp
from middlebox.detect.lisp import Lisp
from middlebox.detect.n2n import N2n
from middlebox.detect.nebula import Nebula
from middlebox.detect.openvpn import OpenVpn
from middlebox.detect.quic import Quic
from middlebox.detect.six_in_four import SixInFour
from middlebox.detect.ssh import Ssh
from middlebox.detect.stun import Stun
from middlebox.detect.teredo import Teredo
from middlebox.detect.tinc import Tinc
from middlebox.detect.tls import Tls
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
)
"Every detector the engine runs. Statistical ones are asked last."
