# What every change is made of. POSIX sh. Standard input is the payload: a tar archive of whole files.
# Answers, one per line, fields divided by tabs: done NAME · refused REASON TEXT · end.
# Exit 75: nothing is wrong with the wish, try again later. Exit 65: somebody has to change something.
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
set -u
umask 022
STATE=/var/lib/penguin
RUN=/run/penguin
GATE=/usr/sbin/policy-rc.d
RELOAD=
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
    [ -z "$RELOAD" ] || systemctl daemon-reload # once: systemd remembers what it knew about enabled units
    say end
}

# --- packages ---------------------------------------------------------------------------------------------------
# Nothing starts while packages are unpacked: each service starts once, with our files.
close_gate() { [ -e "$GATE" ] || { printf '#!/bin/sh\n# penguin\nexit 101\n' >"$GATE" && chmod 755 "$GATE"; }; }
open_gate() { ! grep -qs '^# penguin$' "$GATE" || rm -f "$GATE"; }

patiently() { # runs a command of apt or dpkg until no lock stands in its way
    deadline=$(($(date +%s) + LOCK_WAIT))
    until "$@" >"$RUN/apt.log" 2>&1 </dev/null 9>&-; do
        grep -qiE 'could not get lock|unable to (acquire|lock)|lock was locked|is locked by another' "$RUN/apt.log" || return 1
        [ "$(date +%s)" -lt "$deadline" ] ||
            refuse $LATER apt-lock "$(grep -iE 'held by|locked' "$RUN/apt.log" | head -n 2 | brief)"
        sleep 1
    done
}

blame_apt() {
    last=$(grep -E '^(E|W|dpkg|Err):?' "$RUN/apt.log" | brief)
    if grep -qiE 'no space left|not have enough free space' "$RUN/apt.log"; then refuse $NEVER disk-full "$last"; fi
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

put() { # paths: every file arrives beside its place and is renamed into it
    members=
    for path; do
        keep "$path" && mkdir -p "${path%/*}" || refuse $NEVER write "$path"
        members="$members ${path#/}.penguin-new"
    done
    # shellcheck disable=SC2086 # paths hold no blanks: the plan refuses others
    tar -xpmf "$RUN/payload.tar" -C / --same-owner $members 2>"$RUN/tar.log" || refuse $NEVER write "$(brief <"$RUN/tar.log")"
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

unit_on() { # name, unit to ask, then start or restart
    if ! systemctl -q is-enabled "$1"; then
        systemctl -q --no-reload enable "$1" 9>&- || refuse $NEVER "unit-$1" "cannot be enabled"
        RELOAD=yes
    fi
    systemctl reset-failed "$1" "$2" 2>/dev/null # a unit at its start limit ignores every start
    [ "$1" = "$2" ] || systemctl --no-block start "$1" 9>&- 2>/dev/null # a meta unit; it says nothing about the one that works
    systemctl "$3" "$2" 9>&- 2>/dev/null
    tries=0
    until systemctl -q is-active "$2"; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] && ! systemctl -q is-failed "$2" || refuse $NEVER "unit-$1" "$(systemctl show -p ActiveState -p Result "$2" | brief)"
        sleep 0.2
    done
}

listening() { # address:port
    tries=0
    until ss -Hltn | grep -qF " $1 "; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || refuse $NEVER "port-$1" "nobody listens there"
        sleep 0.2
    done
}

unit_off() { # masked, since disabling runs the scripts of another init system for seconds
    systemctl -q --no-reload mask "$1" || refuse $NEVER "unit-$1" "cannot be masked"
    systemctl stop "$1" 9>&- 2>/dev/null
    RELOAD=yes
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
