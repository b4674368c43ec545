#!/bin/sh
# Gives this host the further addresses of /etc/penguin/addresses (the first line is the one it already has) as /32 on
# the same device, now and after a reboot. `penguin-addresses check` only says whether they are there.
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
LIST=/etc/penguin/addresses
GIVEN=/var/lib/penguin/addresses-given

has() { ip -o -4 addr show to "$1/32" | grep -q .; }

main=$(head -n 1 "$LIST")
device=$(ip -o -4 addr show to "$main/32" | awk 'NR == 1 { print $2 }')
[ -n "$device" ] || { echo "no device has $main"; exit 1; }
further=$(tail -n +2 "$LIST")

# systemd-networkd takes away what its files do not name; any other network set-up leaves it to our unit.
network=$(sed -n 's/^NETWORK_FILE=//p' "/run/systemd/netif/links/$(cat "/sys/class/net/$device/ifindex")" 2>/dev/null)
wanted=
[ -z "$network" ] || [ -z "$further" ] || wanted=$(printf '[Network]\n'; for address in $further; do printf 'Address=%s/32\n' "$address"; done)
dropin=/etc/systemd/network/${network##*/}.d/penguin-addresses.conf

if [ "${1:-}" = check ]; then
    for address in $further; do has "$address" || exit 1; done
    for address in $(cat "$GIVEN" 2>/dev/null); do
        printf '%s\n' "$further" | grep -qxF "$address" || ! has "$address" || exit 1
    done
    [ -z "$network" ] || [ "$(cat "$dropin" 2>/dev/null)" = "$wanted" ]
    exit
fi

if [ -n "$network" ]; then
    if [ -n "$wanted" ]; then
        mkdir -p "${dropin%/*}"
        printf '%s\n' "$wanted" >"$dropin.new" && mv -fT "$dropin.new" "$dropin"
    else
        rm -f "$dropin"
    fi
fi
for address in $(cat "$GIVEN" 2>/dev/null); do
    printf '%s\n' "$further" | grep -qxF "$address" || [ "$address" = "$main" ] || ip addr del "$address/32" dev "$device" 2>/dev/null
done
mkdir -p "${GIVEN%/*}"
printf '%s\n' "$further" >"$GIVEN"
for address in $further; do has "$address" || ip addr add "$address/32" dev "$device" || exit 1; done
