"""A mail host as a pure wish: Postfix, Dovecot, two OpenDKIM signers, resolver, caps, gate and certificate."""

from flows.policy.convergence import Condition, Desired
from flows.policy.mail_host import caps, certificates, dovecot, gate, network, opendkim, postfix
from flows.policy.mail_host.certificates import certificate_alone, csr_script
from flows.policy.mail_host.http01 import answer_script, stop_script
from flows.policy.mail_host.nouns import (
    LOCAL_PART,
    DailyCaps,
    DkimSigner,
    HostMailbox,
    MailDomain,
    MailHost,
    SendingAddress,
    Upstream,
)
from flows.policy.mail_host.packages import PACKAGES

__all__ = [
    "LOCAL_PART",
    "PACKAGES",
    "DailyCaps",
    "DkimSigner",
    "HostMailbox",
    "MailDomain",
    "MailHost",
    "SendingAddress",
    "Upstream",
    "answer_script",
    "certificate_alone",
    "csr_script",
    "desired",
    "stop_script",
]

DEBCONF = ("postfix postfix/main_mailer_type select No configuration",)
# Without this file Postfix's systemd generator dies of it, a second later, at every reload of every other package.
MAIN_CF = Condition("main-cf", "[ -e /etc/postfix/main.cf ]", "mkdir -p /etc/postfix && : >/etc/postfix/main.cf")
ROOT_KEY_PACKAGE = "dns-root-data"  # the trust anchor, where the host resolves from the roots by itself


def desired(host: MailHost) -> Desired:
    """Components in the order in which each finds what it needs."""
    packages = PACKAGES if host.resolver.forwarders else (*PACKAGES, ROOT_KEY_PACKAGE)
    components = (
        network.names(host),
        network.addresses(host),
        network.resolver(host),
        network.resolver_in_use(),
        network.mail_log(),
        certificates.component(host),
        caps.component(host),
        gate.component(host),
        gate.keys(host),
        opendkim.component(host),
        dovecot.mailboxes(host),
        dovecot.component(host),
        postfix.component(host),
    )
    return Desired(packages, components, DEBCONF, (MAIN_CF,))
