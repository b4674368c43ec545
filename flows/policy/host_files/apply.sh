# What every change is made of. POSIX sh. Standard input is the payload: a tar archive of whole files.
# Answers, one per line, fields divided by tabs: done NAME · waited LOCK HOLDER SECONDS · restarted UNIT TEXT ·
# refused REASON TEXT · end.
# Exit 75: nothing is wrong with the wish, try again later. Exit 65: somebody has to change something.
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
set -u
umask 022
STATE=/var/lib/penguin
RUN=/run/penguin
GATE=/usr/sbin/policy-rc.d
OWED=$RUN/reload-owed # a file: whoever dies before the reload leaves it to the next run
LATER=75
NEVER=65

say() { printf '%s' "$1"; shift; for field; do printf '\t%s' "$field"; done; printf '\n'; }
brief() { tr '\n\t' '  ' | tail -c 300; }
refuse() { say refused "$2" "$3"; exit "$1"; } # exit status, reason, text

begin() { # SHA-256 of the payload, seconds to wait for another apply and for apt's locks
    LOCK_WAIT=$2
    mkdir -p "$STATE/pending" "$STATE/previous" "$RUN" && chmod 700 "$STATE" "$RUN" || refuse $NEVER state "no $STATE"
    exec 9>"$RUN/lock"
    flock -w "$LOCK_WAIT" 9 || refuse $LATER busy "another run is changing this host"
    trap 'rm -f "$RUN/payload.tar"; open_gate' EXIT
    (umask 077 && cat >"$RUN/payload.tar")
    [ "$(sha256sum <"$RUN/payload.tar" | cut -c1-64)" = "$1" ] || refuse $LATER payload "the files did not arrive whole"
}

finish() {
    [ ! -e "$OWED" ] || { systemctl daemon-reload && rm -f "$OWED"; } # once: systemd remembers what it knew of enabled units
    say end
}

# --- the time ---------------------------------------------------------------------------------------------------
set_clock() { # seconds since the epoch, and how long the host was up then: since that we may have waited for a lock
    text=$(date -u -s "@$(($1 + $(cut -d. -f1 /proc/uptime) - $2))" 2>&1) || refuse $NEVER clock "$(printf '%s' "$text" | brief)"
    say done clock-set
}

# --- packages ---------------------------------------------------------------------------------------------------
# Nothing starts while packages are unpacked: each service starts once, with our files.
close_gate() { [ -e "$GATE" ] || { printf '#!/bin/sh\n# penguin\nexit 101\n' >"$GATE" && chmod 755 "$GATE"; }; }
open_gate() { ! grep -qs '^# penguin$' "$GATE" || rm -f "$GATE"; }

patiently() { # runs a command of apt or dpkg until no lock stands in its way; unattended upgrades hold one for minutes
    waited=0 holder=
    until "$@" >"$RUN/apt.log" 2>&1 </dev/null 9>&-; do
        grep -qiE 'could not get lock|unable to (acquire|lock)|lock was locked|is locked by another' "$RUN/apt.log" || return 1
        holder=$(grep -iE 'held by|locked' "$RUN/apt.log" | head -n 1 | brief)
        [ "$waited" -lt "$LOCK_WAIT" ] || refuse $LATER apt-lock "$holder"
        waited=$((waited + 1)) # not by the clock: it may be set while we wait
        sleep 1
    done
    [ "$waited" -eq 0 ] || say waited apt-lock "$holder" "$waited"
}

short_of_room() { # text of whoever could not write; prints the line that says so
    printf '%s\n' "$1" | grep -iE -m 1 'no space left|not have enough free space|disk quota exceeded' | brief
}

room() { # the file system with the least room of those that packages and our files go to
    df -Pm / /etc /usr /var /var/cache/apt/archives /tmp 2>/dev/null | sed 1d | sort -u | sort -n -k 4,4 | head -n 1 |
        while read -r _ size _ free _ place; do printf '%s has %s of %s MB free' "$place" "$free" "$size"; done
}

blame_apt() {
    last=$(grep -E '^(E|W|dpkg|Err):?' "$RUN/apt.log" | brief)
    full=$(short_of_room "$(cat "$RUN/apt.log")")
    [ -z "$full" ] || refuse $NEVER disk-full "$(room): $full"
    if grep -qiE 'failed to fetch|could not resolve|unable to connect|temporary failure' "$RUN/apt.log"; then
        refuse $LATER apt-unreachable "$last"
    fi
    refuse $NEVER apt-failed "$last"
}

apt_install() { # what is given, or whatever a dead installation lacks; a conffile changed by hand stays, nobody is asked
    patiently apt-get -q -y -f --no-install-recommends -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold install "$@"
}

packages() { # names
    close_gate
    if [ -z "$(find "$STATE/apt-updated" -mmin -60 2>/dev/null)" ]; then
        patiently apt-get -q update || blame_apt
        : >"$STATE/apt-updated"
    fi
    patiently dpkg --force-confdef --force-confold --configure -a || apt_install || blame_apt
    apt_install "$@" || { rm -f "$STATE/apt-updated"; blame_apt; }
    open_gate
    say done packages
}

answer() { command -v debconf-set-selections >/dev/null && printf '%s\n' "$1" | debconf-set-selections; }

# --- a component ------------------------------------------------------------------------------------------------
# The marker is laid before the first file moves and taken away after the services agreed: a run that dies in
# between is seen by the next look at the facts.
component() {
    NAME=$1
    KEPT=$STATE/previous/$NAME
    : >"$STATE/pending/$NAME"
}

keep() { # the file as it was before this component was first touched, for put_back
    copy=$KEPT/$(printf '%s' "$1" | tr / %)
    mkdir -p "$KEPT" && chmod 700 "$KEPT"
    [ ! -e "$copy" ] && [ ! -L "$copy" ] && [ ! -e "$copy.absent" ] || return 0
    if [ -e "$1" ] || [ -L "$1" ]; then cp -a "$1" "$copy.part" && mv -T "$copy.part" "$copy"; else : >"$copy.absent"; fi
}

blame_disk() { # what could not be written, and why
    full=$(short_of_room "$1")
    [ -z "$full" ] || refuse $NEVER disk-full "$(room): $full"
    refuse $NEVER write "$(printf '%s' "$1" | brief)"
}

put() { # paths: every file arrives beside its place and is renamed into it
    members=
    for path; do
        text=$( (keep "$path" && mkdir -p "${path%/*}") 2>&1) || blame_disk "$path: $text"
        members="$members ${path#/}.penguin-new"
    done
    # shellcheck disable=SC2086 # paths hold no blanks: the plan refuses others
    tar -xpmf "$RUN/payload.tar" -C / --same-owner $members 2>"$RUN/tar.log" || blame_disk "$(cat "$RUN/tar.log")"
    sync -f / 2>/dev/null
    for path; do mv -fT "$path.penguin-new" "$path" || refuse $NEVER write "$path"; done
}

drop() { for path; do keep "$path" && rm -rf "$path"; done; }

put_back() {
    for copy in "$KEPT"/*; do
        path=$(printf '%s' "${copy##*/}" | tr % /)
        case $copy in
            *.part) ;;
            *.absent) rm -f "${path%.absent}" ;;
            *) [ ! -e "$copy" ] && [ ! -L "$copy" ] || cp -a --remove-destination "$copy" "$path" ;;
        esac
    done
}

checked() { # shell: what a service says about its new files before it reads them
    text=$( (eval "$1") 2>&1 </dev/null 9>&-) && return 0
    put_back
    forget
    refuse $NEVER "check-$NAME" "$(printf '%s' "$text" | brief)"
}

cured() { # key, test, cure
    (eval "$2") >/dev/null 2>&1 </dev/null 9>&- && return 0
    text=$( (eval "$3") 2>&1 </dev/null 9>&-)
    (eval "$2") >/dev/null 2>&1 </dev/null 9>&- || refuse $NEVER "condition-$1" "$(printf '%s' "$text" | brief)"
}

settled() { # shell
    text=$( (eval "$1") 2>&1 </dev/null 9>&-) || refuse $NEVER "settle-$NAME" "$(printf '%s' "$text" | brief)"
}

read_anew() { # units whose files may be new; one that systemd never met is read whole when it is first asked about
    ! systemctl show -p NeedDaemonReload "$@" | grep -qx NeedDaemonReload=yes || systemctl daemon-reload
}

unit_on() { # name, unit to ask, then start or restart
    if ! systemctl -q is-enabled "$1"; then
        : >"$OWED"
        systemctl -q --no-reload enable "$1" 9>&- || refuse $NEVER "unit-$1" "cannot be enabled"
    fi
    systemctl reset-failed "$1" "$2" 2>/dev/null # a unit at its start limit ignores every start
    [ "$1" = "$2" ] || systemctl --no-block start "$1" 9>&- 2>/dev/null # a meta unit; it says nothing about the one that works
    begun "$3" "$2" && return 0
    first=$(last_words "$2") # a start may fail for a moment's reason: once more before anybody is called
    systemctl reset-failed "$2" 2>/dev/null
    sleep 1
    begun "$3" "$2" || refuse $NEVER "unit-$1" "$(last_words "$2")"
    say restarted "$2" "$first"
}

begun() { # start or restart, unit; whether it is active within ten seconds
    systemctl "$1" "$2" 9>&- 2>/dev/null
    tries=0
    until systemctl -q is-active "$2"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] && ! systemctl -q is-failed "$2" || return 1
        sleep 0.05
    done
}

last_words() { # unit; how it ended, and what it said last
    systemctl show -p ActiveState -p Result -p ExecMainStatus "$1" | tr '\n' ' '
    journalctl -q -u "$1" -n 12 -o cat --no-pager 2>/dev/null | grep -vF "$1.service: " |
        grep -vE '^(Start|Stop|Failed to start)' | brief
}

listening() { # address:port
    tries=0
    until ss -Hltn | grep -qF " $1 "; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || refuse $NEVER "port-$1" "nobody listens there"
        sleep 0.05
    done
}

unit_off() { # masked, since disabling runs the scripts of another init system for seconds
    if [ "$(systemctl is-enabled "$1" 2>/dev/null)" != masked ]; then
        : >"$OWED"
        systemctl -q --no-reload mask "$1" || refuse $NEVER "unit-$1" "cannot be masked"
    fi
    systemctl stop "$1" 9>&- 2>/dev/null
}

forget() { rm -rf "$KEPT"; rm -f "$STATE/pending/$NAME"; }
complete() { forget; say done "$NAME"; }

# --- arming -----------------------------------------------------------------------------------------------------
# What could lock us out is undone by the host itself, after a while or at the next boot, unless somebody who came in
# anew confirms it.
arm() { # seconds
    mkdir -p "$STATE/armed/previous" && chmod 700 "$STATE/armed"
    printf '%s\n' "${SSH_CONNECTION:-}" >"$STATE/armed/connection"
    date +%s >"$STATE/armed/since"
    systemctl stop penguin-revert-soon.timer 2>/dev/null
    systemd-run --quiet --collect --unit=penguin-revert-soon --on-active="$1" --timer-property=AccuracySec=1s \
        /usr/local/sbin/penguin-revert 9>&- || refuse $NEVER arm "no timer for the way back"
}

armed_component() {
    component "$1"
    KEPT=$STATE/armed/previous/$NAME
}

armed_complete() { rm -f "$STATE/pending/$NAME"; say done "$NAME"; }

confirm() {
    [ -d "$STATE/armed" ] || refuse $LATER not-armed "the host has already gone back, or nothing was armed"
    [ -z "${SSH_CONNECTION:-}" ] || [ "$SSH_CONNECTION" != "$(cat "$STATE/armed/connection")" ] ||
        refuse $LATER same-connection "only a new connection proves that the door is open"
    systemctl stop penguin-revert-soon.timer 2>/dev/null
    rm -rf "$STATE/armed"
    say done confirmed
}
