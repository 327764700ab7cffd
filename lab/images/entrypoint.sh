#!/bin/sh
# First process of every lab container. Takes away the way out, opens the way through the gateway, then does its part.
# Usage: entrypoint.sh client|gateway|server
set -eu

ip route del default 2>/dev/null || true
ip -6 route del default 2>/dev/null || true
case "$1" in
    client)
        ip route add 198.51.100.0/24 via 192.0.2.1
        ip -6 route add 2001:db8:2::/64 via 2001:db8:1::1 ;;
    server)
        ip route add 192.0.2.0/24 via 198.51.100.1
        ip -6 route add 2001:db8:1::/64 via 2001:db8:2::1 ;;
esac

# veth hands over packets of up to 64 kB; a capture would then show sizes that no real network has.
for interface in $(ls /sys/class/net); do
    [ "$interface" = lo ] || ethtool -K "$interface" tso off gso off gro off tx off rx off >/dev/null 2>&1 || true
done

touch /run/lab-network-ready

if [ "${LAB_BY_HAND:-yes}" = yes ]; then
    exec python3 -m middlebox.lab.byhand "$1"
fi
trap 'exit 0' TERM INT
sleep infinity &
wait
