#!/bin/sh
# Runs once inside the fresh base tree: nothing that must be unique per host may stay in it.
set -eu
: > /etc/machine-id
: > /etc/resolv.conf
rm -f /etc/ssh/ssh_host_* /etc/apt/sources.list.d/* /var/cache/apt/*.bin
rm -rf /var/lib/apt/lists/*
mkdir -p /srv/labrepo
echo 'deb [trusted=yes] file:/srv/labrepo ./' > /etc/apt/sources.list
echo 'APT::Install-Recommends "false";' > /etc/apt/apt.conf.d/90sandbox
echo 'PermitRootLogin yes' > /etc/ssh/sshd_config.d/50-provider.conf
systemctl enable --quiet systemd-networkd
# No route to a mirror: these timers could only write failures into the journal of a test.
systemctl disable --quiet apt-daily.timer apt-daily-upgrade.timer
# A console nobody sits at.
systemctl mask --quiet console-getty.service
