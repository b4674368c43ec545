# Facts about this host, one per line, fields divided by tabs. Reads only; POSIX sh, no Python: a bare server has none.
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
STATE=/var/lib/penguin
fact() { printf '%s' "$1"; shift; for field; do printf '\t%s' "$field"; done; printf '\n'; }

host_facts() { # seconds to wait for the end of the boot: sshd answers before it
    fact state "$(timeout "$1" systemctl is-system-running --wait 2>/dev/null || systemctl is-system-running)"
    fact hostname "$(hostname)"
    fact clock "$(date +%s)"
    fact boot "$(cat /proc/sys/kernel/random/boot_id)" "$(cut -d. -f1 /proc/uptime)"
    fact container "$(systemd-detect-virt --container)"
    (. /etc/os-release && fact system "$ID" "$VERSION_ID")
    systemctl list-units --failed --plain --no-legend | while read -r unit _; do fact failed "$unit"; done
    ip -o -4 addr show | while read -r _ device _ address _; do fact address "$device" "$address"; done
    ss -Hltn | while read -r _ _ _ local _; do fact listening "$local"; done
    for marker in "$STATE"/pending/*; do [ ! -e "$marker" ] || fact pending "${marker##*/}"; done
    [ ! -d "$STATE/armed" ] || fact armed "$(cat "$STATE/armed/since" 2>/dev/null)"
    [ ! -e /run/penguin/lock ] || flock -n /run/penguin/lock true || fact busy
}

package_facts() {
    [ -z "$(ls /var/lib/dpkg/updates 2>/dev/null)" ] && [ -z "$(dpkg --audit 2>&1)" ] || fact dpkg interrupted
    [ $# -eq 0 ] || dpkg-query -W -f 'package\t${Package}\t${db:Status-Abbrev}\t${Version}\n' "$@" 2>/dev/null
}

file_facts() {
    [ $# -gt 0 ] || return 0
    stat -c 'stat	%n	%a	%U:%G	%F' "$@" 2>/dev/null
    sha256sum "$@" 2>/dev/null | while read -r sum path; do fact sha256 "$path" "$sum"; done
}

gone_facts() { for path; do [ ! -e "$path" ] && [ ! -L "$path" ] || fact present "$path"; done; }

unit_facts() {
    [ $# -eq 0 ] || systemctl show -p Id -p ActiveState -p UnitFileState -p NeedDaemonReload "$@" | {
        while IFS='=' read -r name value; do
            case $name in
                Id) id=$value ;;
                ActiveState) active=$value ;;
                UnitFileState) enabled=$value ;;
                NeedDaemonReload) stale=$value ;;
                '') fact unit "$id" "$active" "$enabled" "$stale" ;;
            esac
        done
        fact unit "$id" "$active" "$enabled" "$stale"
    }
}

condition() { # key test
    if (eval "$2") >/dev/null 2>&1 </dev/null; then fact holds "$1"; else fact broken "$1"; fi
}

certificate_fact() { # path
    [ ! -e "$1" ] || fact certificate "$1" "$(openssl x509 -in "$1" -noout -enddate 2>/dev/null | cut -d= -f2)"
}
