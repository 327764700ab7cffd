"""Other programs' names for protocols, in ours.

Labels of public captures are the words of nDPI, tshark or a file name. One table translates them; what is not in it
says too little (`Google`, `Facebook`) and is scored by its kind alone.
"""

from types import MappingProxyType

from middlebox.protocols import CATEGORY_OF

_SAME: dict[str, str] = {
    # ours: the words of others, in lower case
    "openvpn": "openvpn", "wireguard": "wireguard wg", "ipsec": "ipsec isakmp ike ikev1 ikev2 esp ah", "l2tp": "l2tp",
    "pptp": "pptp", "sstp": "sstp", "openconnect": "anyconnect cisco-vpn ciscovpn", "fortinet-sslvpn": "forticlient",
    "softether": "softether", "tailscale": "tailscale", "tinc": "tinc", "zerotier": "zerotier", "n2n": "n2n",
    "nebula": "nebula", "hamachi": "hamachi", "cloudflare-warp": "cloudflarewarp", "gre": "gre erspan",
    "ip-in-ip": "ipip ip-in-ip", "6in4": "6in4", "teredo": "teredo", "vxlan": "vxlan", "geneve": "geneve",
    "gtp": "gtp gtpprime gtp_u gtp_c gtp_prime", "lisp": "lisp lisp-data", "ayiya": "ayiya",
    "tor": "tor", "socks5": "socks", "http-connect": "http_connect", "http-proxy": "http_proxy",
    "shadowsocks": "shadowsocks", "trojan": "trojan", "vmess": "vmess", "ultrasurf": "ultrasurf",
    "psiphon": "psiphon", "dnscrypt": "dnscrypt avastsecuredns", "doh": "doh", "doq": "doq", "dot": "dot",
    "dns-tunnel": "dnstunnel iodine dnscat", "websocket-tunnel": "wstunnel", "ssh": "ssh sshscp rsync_ssh",
    "http": "http http1 git_http soap", "tls": "tls ssl tls-raw https13 http2", "quic": "quic gquic http3",
    "dns": "dns ordinary-dns dns_tcp dns_udp", "mdns": "mdns", "llmnr": "llmnr", "nbns": "nbns", "ntp": "ntp",
    "dhcp": "dhcp dhcpv6", "smtp": "smtp smtps", "imap": "imap imaps", "pop3": "pop pop3 pops",
    "ftp": "ftp ftp_control ftps", "telnet": "telnet", "stun": "stun webrtc",
    "dtls": "dtls", "rtp": "rtp srtp", "rtcp": "rtcp", "sip": "sip",
    "bittorrent": "bittorrent bt-dht bt bt_enc", "utp": "bt-utp", "smb": "smb smb2 smbv1 smbv23", "rdp": "rdp",
    "vnc": "vnc rfb", "ldap": "ldap cldap", "kerberos": "kerberos krb5", "snmp": "snmp", "syslog": "syslog",
    "mqtt": "mqtt", "amqp": "amqp", "redis": "resp redis", "postgresql": "pgsql postgresql postgres postgres_tls",
    "mysql": "mysql", "mongodb": "mongo mongodb", "memcached": "memcache memcached", "git": "git git_proto",
    "rsync": "rsync rsyncd", "xmpp": "xmpp jabber", "irc": "irc", "rtsp": "rtsp", "rtmp": "rtmp", "ssdp": "ssdp",
    "icmp": "icmp icmpv6 icmp6", "igmp": "igmp", "tftp": "tftp", "radius": "radius", "dcerpc": "dcerpc",
    "onc-rpc": "rpc nfs mount portmap", "mssql": "tds mssql-tds", "diameter": "diameter", "bgp": "bgp",
    "ospf": "ospf", "modbus": "mbtcp modbus", "dnp3": "dnp3", "bacnet": "bvlc bacnet", "opc-ua": "opcua opc-ua",
    "s7comm": "s7comm", "enip": "enip", "x11": "x11", "nntp": "nntp usenet", "websocket": "websocket",
    "pim": "pim ip_pim", "sctp": "sctp m3ua", "coap": "coap", "nbdgm": "nbdgm", "eigrp": "eigrp", "vrrp": "vrrp",
    "fix": "fix", "whatsapp": "whatsapp", "bitcoin": "bitcoin", "ethereum": "ethereum", "iec104": "iec60870",
    "nats": "nats", "stomp": "stomp", "cassandra": "cassandra", "oracle": "tns oracle", "finger": "finger",
}  # fmt: skip

_OURS = MappingProxyType({word: ours for ours, words in _SAME.items() for word in words.split() if ours in CATEGORY_OF})

_FRAMING: dict[str, tuple[str, ...]] = {
    "tpkt": ("rdp", "s7comm"),
    "cotp": ("rdp", "s7comm"),
    "nbss": ("smb", "dcerpc"),
    "netbios": ("nbns", "nbdgm", "smb", "dcerpc"),
    "doh_dot": ("doh", "dot", "doq"),
}
"Words for what several protocols have in common, a framing or a service, and the names that are right for them."

_IN_TLS = ("tls-in-tls", "tls-tunnel", "trojan", "vless", "vmess", "shadowtls", "anytls")
"Proxies that hide in TLS, and what their flows are called when the lengths of records do not tell which."

_MORE_SPECIFIC: dict[str, tuple[str, ...]] = {
    "tls": ("doh", "dot", "smtp", "imap", "pop3", "ftp", "xmpp", "postgresql", "mysql", "ldap", "rdp"),
    "quic": ("doq", "doh"),
    "http": ("websocket", "doh", "ssdp", "rtsp", "git"),
    "dns": ("mdns", "llmnr", "nbns", "dnscrypt"),
    "ftp": ("tls",),
    "smtp": ("tls",),
    "imap": ("tls",),
    "pop3": ("tls",),
    "postgresql": ("tls",),
    "nbns": ("nbdgm", "smb"),
    "smb": ("dcerpc", "nbns", "nbdgm"),
    "stun": ("turn", "rtp", "rtcp", "dtls"),
    "dtls": ("stun", "rtp"),
    "rtp": ("rtcp", "stun"),
    "rtcp": ("rtp",),
    "ssh": ("ssh-tunnel",),
    "socks5": ("socks4",),
    "dnscrypt": ("dns", "doh"),
    "doh": ("dot",),
    "sctp": ("diameter",),
    "gre": ("pptp", "ip-in-ip"),
    "bittorrent": ("utp", "http"),
    "utp": ("bittorrent",),
    "dcerpc": ("smb",),
    "http-proxy": ("http-connect",),
    "shadowsocks": ("fully-encrypted",),
    "vmess": ("fully-encrypted", "shadowsocks", *_IN_TLS),
    "trojan": _IN_TLS,
}
"""Names that are right, too, where the label is the first one: what is inside a carrier, or a sibling that shares its
flows. None of them is a VPN, a proxy or an anonymity network, but for those named by the label itself."""

_ALSO_SERVICES = frozenset({"whatsapp"})
"Protocols after which nDPI also names the host of ordinary flows: `DNS.WhatsApp` is DNS."

_PROVIDERS = frozenset(
    ("operavpn", "nordvpn", "surfshark", "protonvpn", "privateinternetaccess", "mullvad", "cloudflarewarp")
)
"Providers of VPNs, as nDPI names them by a host name."
_CARRIERS_OF_NAMES = frozenset({"tls", "quic", "dns", "http"})


def names_a_provider_only(label: str) -> bool:
    """Whether the label says no more than that a host name belongs to a VPN's provider, for instance `TLS.NordVPN`."""
    first, *rest = label.lower().split(".")
    return first in _CARRIERS_OF_NAMES and any(part in _PROVIDERS for part in rest)


def names_for(label: str) -> frozenset[str] | None:
    """Our names for another program's label; None when it says too little.

    nDPI joins names with dots (`TLS.Google`): each part is looked up, the last known one counts.
    """
    words = label.lower()
    first, *rest = words.split(".")
    found = _names_of(words) or _names_of(first)
    for part in rest:
        if part not in _ALSO_SERVICES and not (first in _CARRIERS_OF_NAMES and part in _PROVIDERS):
            found = _names_of(part) or found
    return found


def _names_of(word: str) -> frozenset[str] | None:
    if word in _FRAMING:
        return frozenset(_FRAMING[word])
    ours = _OURS.get(word)
    return None if ours is None else frozenset((ours, *_MORE_SPECIFIC.get(ours, ())))
