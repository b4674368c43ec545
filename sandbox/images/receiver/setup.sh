#!/bin/sh
# Runs inside the tree after the packages are in and the files beside this script are laid over them.
set -eu
useradd -r -u 5000 -d /var/vmail -m -s /usr/sbin/nologin vmail
useradd -r -d /var/lib/receiver -s /usr/sbin/nologin receiver
chown -R receiver: /var/lib/receiver
chmod 755 /usr/local/bin/receiver_policy.py /usr/local/bin/receiver_report.py /usr/local/bin/receiver_filing.py
sed -i 's/^!include auth-system/#&/' /etc/dovecot/conf.d/10-auth.conf
sievec /etc/dovecot/sieve/before.sieve
sievec /etc/dovecot/sieve/failures.sieve
# One connection per smtpd process: it would keep the answers of a blocklist as long as it lives.
postconf -M 'smtp/inet=smtp inet n - y - - smtpd -o max_use=1'
postconf -M 'policyd-spf/unix=policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf'
postconf -M 'receiver-policy/unix=receiver-policy unix - n n - 0 spawn user=receiver argv=/usr/local/bin/receiver_policy.py'
postconf -M 'receiver-filing/unix=receiver-filing unix - n n - - pipe flags=DRhu user=vmail null_sender= argv=/usr/local/bin/receiver_filing.py $sender $recipient'
# eth0 is made before boot and nobody changes it here.
systemctl mask --quiet systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service
