#!/bin/sh
# Runs inside the tree after the packages are in; zones and the update key are written for each world before boot.
set -eu
mkdir -p /etc/knot/zones.d
chown root:knot /etc/knot
chmod 750 /etc/knot
rm -f /etc/unbound/unbound.conf.d/root-auto-trust-anchor-file.conf /etc/unbound/unbound.conf.d/remote-control.conf
# The daemons bind to addresses of their own: they start once the network is there, and again if it was not.
for unit in knot unbound pebble; do
    mkdir -p "/etc/systemd/system/$unit.service.d"
    printf '[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=on-failure\nRestartSec=100ms\n' \
        > "/etc/systemd/system/$unit.service.d/world.conf"
done
systemctl enable --quiet knot unbound pebble


# eth0 is made before boot and nobody changes it here.
systemctl mask --quiet systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service
