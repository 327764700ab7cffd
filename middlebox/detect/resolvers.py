"""Names of public resolvers that answer encrypted DNS, for detectors of DoH and DoT.

The one rule: only names that serve nothing but DNS, or little else, stand here. A domain covers all names below it.
"""

_LIST = """
    cloudflare-dns.com one.one.one.one dns.google dns.google.com dns.quad9.net dns9.quad9.net dns10.quad9.net
    dns11.quad9.net doh.opendns.com dns.opendns.com doh.familyshield.opendns.com dns.adguard.com adguard-dns.com
    dns.nextdns.io doh.cleanbrowsing.org dns.controld.com freedns.controld.com dns.mullvad.net doh.mullvad.net
    dns0.eu doh.dns.sb dot.sb dns.alidns.com doh.pub dot.pub doh.360.cn dns.twnic.tw doh.xfinity.com dot.xfinity.com
    doh.libredns.gr dot.libredns.gr doh.applied-privacy.net dot1.applied-privacy.net anycast.uncensoreddns.org
    ordns.he.net odvr.nic.cz dns.digitale-gesellschaft.ch doh.ffmuc.net dot.ffmuc.net canadianshield.cira.ca
    basic.bravedns.com sky.rethinkdns.com dns.switch.ch dnsforge.de"""
_DOMAINS = frozenset(_LIST.split())
"""From the operators' own pages (Cloudflare, Google, Quad9, Cisco, AdGuard, NextDNS, CleanBrowsing, Control D, Mullvad,
Comcast, CIRA, CZ.NIC, Hurricane Electric), curl's wiki page "DNS over HTTPS", and dnsprivacy.org's list of servers."""


def is_resolver(name: object) -> bool:
    """Whether a server name is a public resolver's."""
    if not isinstance(name, str):
        return False
    labels = name.split(".")
    return any(".".join(labels[start:]) in _DOMAINS for start in range(len(labels) - 1))
