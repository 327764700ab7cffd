"""Every protocol name that events and policies may use, with its category.

One table, so that a name is spelled one way everywhere. Detectors report these names; nothing else may.
"""

from types import MappingProxyType

_CATEGORIES: dict[str, str] = {
    "vpn": """
        openvpn wireguard amneziawg ipsec l2tp pptp sstp openconnect fortinet-sslvpn globalprotect softether
        tailscale zerotier nebula tinc n2n vtun fastd yggdrasil hamachi cloudflare-warp gre generic-udp-vpn""",
    "proxy": """
        shadowsocks simple-obfs vmess vless trojan anytls shadowtls kcptun hysteria tuic quic-tunnel socks4
        socks5 http-connect http-proxy psiphon ultrasurf fully-encrypted tls-in-tls masque""",
    "anonymity": "tor obfs4 meek snowflake i2p",
    "tunnel": """
        ssh-tunnel dns-tunnel icmp-tunnel tls-tunnel websocket-tunnel http-tunnel ip-in-ip teredo 6in4 vxlan
        geneve gtp lisp ayiya""",
    "encrypted-dns": "doh dot doq dnscrypt",
    "ordinary": """
        websocket http tls quic dns mdns llmnr nbns ntp dhcp ssh smtp imap pop3 ftp telnet stun turn dtls rtp
        rtcp sip bittorrent utp smb rdp vnc ldap kerberos snmp syslog mqtt amqp redis postgresql mysql mongodb
        memcached git rsync xmpp irc rtsp rtmp ssdp icmp igmp nats stomp nntp finger x11 dcerpc onc-rpc mssql
        oracle cassandra diameter fix whatsapp bitcoin ethereum bgp ospf pim vrrp eigrp sctp modbus dnp3 s7comm
        iec104 enip opc-ua bacnet tftp radius nbdgm coap""",
    "unknown": "unknown",
}

CATEGORIES: tuple[str, ...] = tuple(_CATEGORIES)

CATEGORY_OF = MappingProxyType({name: category for category, names in _CATEGORIES.items() for name in names.split()})
"Protocol name to category name."

CARRIERS = frozenset({"websocket", "tls", "quic", "http", "dns", "ssh", "dtls", "stun", "icmp", "gre"})
"Protocols that often carry another one. A flow keeps the name of what is inside, when that can be shown."
