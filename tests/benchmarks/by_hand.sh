#!/bin/sh
# What an administrator would type on a bare host: the same packages, one domain, one address, two signers, two mailboxes.
# Reads nothing, asks nothing; prints the two DKIM record values at its end.
set -eu
domain=$1; address=$2; resolver=$3; shift 3
host=mail.$domain
systemctl is-system-running --wait >/dev/null || true
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -y -q --no-install-recommends "$@" >/tmp/apt.log 2>&1
hostnamectl set-hostname "$host" 2>/dev/null || hostname "$host"

install -d -m 755 /etc/ssl/byhand
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$host" \
  -addext "subjectAltName=DNS:$host" -keyout /etc/ssl/byhand/key -out /etc/ssl/byhand/crt 2>/dev/null

getent passwd vmail >/dev/null || useradd -r -d /var/vmail -m -s /usr/sbin/nologin vmail
hash=$(doveadm pw -s SHA512-CRYPT -p by-hand-password)
for local in postmaster anna bert; do echo "$local@$domain:$hash::::::"; done >/etc/dovecot/users
chown root:dovecot /etc/dovecot/users; chmod 640 /etc/dovecot/users
sed -i 's/^!include auth-system/#&/' /etc/dovecot/conf.d/10-auth.conf
cat >/etc/dovecot/local.conf <<CONF
protocols = imap lmtp
mail_location = maildir:/var/vmail/%d/%n
ssl = required
ssl_cert = </etc/ssl/byhand/crt
ssl_key = </etc/ssl/byhand/key
passdb {
  driver = passwd-file
  args = username_format=%u /etc/dovecot/users
}
userdb {
  driver = static
  args = uid=vmail gid=vmail home=/var/vmail/%d/%n
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
}
CONF

install -d -o opendkim -g opendkim -m 700 /etc/dkim
openssl genrsa -out /etc/dkim/rsa 2048 2>/dev/null
openssl genpkey -algorithm ed25519 -out /etc/dkim/ed25519
chown opendkim:opendkim /etc/dkim/*; chmod 600 /etc/dkim/*
port=8891
for algorithm in rsa ed25519; do
  cat >/etc/opendkim-$algorithm.conf <<CONF
Syslog yes
UserID opendkim
Mode s
Canonicalization relaxed/relaxed
Socket inet:$port@127.0.0.1
PidFile /run/opendkim/$algorithm.pid
Domain $domain
Selector $algorithm
KeyFile /etc/dkim/$algorithm
SignatureAlgorithm $algorithm-sha256
Nameservers $resolver
CONF
  install -d -o opendkim -g opendkim /run/opendkim
  opendkim -x /etc/opendkim-$algorithm.conf
  port=$((port + 1))
done

postconf -e "myhostname=$host" mydestination=localhost inet_protocols=ipv4 inet_interfaces=all compatibility_level=3.6 \
  "virtual_mailbox_domains=$domain" virtual_mailbox_maps=inline:{postmaster@$domain=x,anna@$domain=x,bert@$domain=x} \
  virtual_transport=lmtp:unix:private/dovecot-lmtp smtpd_tls_cert_file=/etc/ssl/byhand/crt \
  smtpd_tls_key_file=/etc/ssl/byhand/key smtpd_tls_security_level=may smtp_tls_security_level=may \
  "smtp_helo_name=$host" milter_default_action=tempfail \
  smtpd_milters=inet:127.0.0.1:8891,inet:127.0.0.1:8892 'non_smtpd_milters=$smtpd_milters' \
  smtpd_relay_restrictions=permit_sasl_authenticated,reject_unauth_destination
postconf -M 'submission/inet=submission inet n - y - - smtpd'
postconf -P submission/inet/smtpd_tls_security_level=encrypt submission/inet/smtpd_sasl_auth_enable=yes \
  submission/inet/smtpd_sasl_type=dovecot submission/inet/smtpd_sasl_path=private/auth
systemctl restart dovecot postfix
echo "rsa v=DKIM1; k=rsa; p=$(openssl rsa -in /etc/dkim/rsa -pubout -outform DER 2>/dev/null | base64 -w 0)"
echo "ed25519 v=DKIM1; k=ed25519; p=$(openssl pkey -in /etc/dkim/ed25519 -pubout -outform DER | tail -c 32 | base64 -w 0)"
