"""The Debian packages of a mail host: one list for the product and for whoever prepares an image."""

PACKAGES = (
    "postfix",
    "postfix-pcre",
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-lmtpd",
    "opendkim",
    "opendkim-tools",
    "unbound",
    "rsyslog",
    "logrotate",
    "python3",  # runs the cap keeper; standard library only
    "openssl",
)
