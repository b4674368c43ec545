#!/bin/sh
# Puts back what an unconfirmed change of firewall or sshd replaced. Run by a timer, and at boot.
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
ARMED=/var/lib/penguin/armed
[ -d "$ARMED" ] || exit 0
mkdir -p /run/penguin
exec 9>/run/penguin/lock
flock -w 5 9 # an apply that hangs must not keep the door shut
for copy in "$ARMED"/previous/*/*; do
    path=$(printf '%s' "${copy##*/}" | tr % /)
    case $copy in
        *.part) ;;
        *.absent) rm -f "${path%.absent}" ;;
        *) [ ! -e "$copy" ] || cp -a --remove-destination "$copy" "$path" ;;
    esac
done
nft delete table inet penguin 2>/dev/null
systemctl --no-block try-reload-or-restart nftables
systemctl --no-block try-reload-or-restart ssh
rm -rf "$ARMED"
echo "unconfirmed change of firewall or sshd undone"
