#!/bin/sh
# keep_host.sh FOLDER SWITCH NAMESPACE PORT GROUP COMMAND...
# Keeps one host going: makes eth0, boots it, and does both anew when the host reboots (status 133 of systemd-nspawn) or
# the world asked for that (file `again`). eth0 is made anew because a namespace outlives its host: an address that was
# added by hand would seem to survive a reboot.
folder=$1 switch=$2 namespace=$3 port=$4 group=$5
shift 5
# A control group of the host's own (version 2 only): what systemd-nspawn starts begins where the keeper is.
[ -z "$group" ] || { mkdir -p "$group" && echo $$ > "$group/cgroup.procs"; } || exit 1
echo "$$ $(cut -d ' ' -f 22 "/proc/$$/stat")" > "$folder/keeper.draft"
mv "$folder/keeper.draft" "$folder/keeper"
while [ ! -e "$folder/gone" ]; do
    rm -f "$folder/again"
    ip -n "$switch" link del "$port" 2> /dev/null
    ip -n "$switch" -batch "$folder/cable" && ip -n "$namespace" -batch "$folder/eth0" || exit 1
    "$@"
    status=$?
    echo "keep_host: process 1 ended, status $status"
    [ $status -eq 133 ] || [ -e "$folder/again" ] || exit 0
done
