#!/bin/sh
# keep_room.sh FOLDER NAMESERVER_LINES
# Process 1 of an ordinary user's room: lays out what hosts and tools expect of a machine, says `ready`, and ends when
# nothing else runs in the room and nobody holds the door (FOLDER/room.lock) to come in.
set -e
folder=$1
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2> /dev/null || {
    # Over a tree of version 1 the mount point is a tmpfs that is not ours.
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
}
printf '%s' "$2" > /run/resolv.conf
where=$(readlink -m /etc/resolv.conf)
case $where in
    /run/*) mkdir -p "${where%/*}" && cp /run/resolv.conf "$where" ;;
    *) [ ! -e "$where" ] || mount --bind /run/resolv.conf "$where" ;;
esac
ip link set lo up
set +e
echo ready
exec > /dev/null 9<> "$folder/room.lock"
while :; do
    sleep 0.5 # the shell reaps here what was left to process 1
    set -- /proc/[0-9]*
    [ $# -eq 1 ] && flock --nonblock 9 || continue
    set -- /proc/[0-9]*
    [ $# -eq 1 ] && break
    flock --unlock 9
done
rm -f "$folder/room"
