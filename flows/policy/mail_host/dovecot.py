"""Dovecot: mailboxes over IMAPS, delivery by LMTP, passwords for Postfix."""

from flows.policy.convergence import Component, Condition, File, Unit
from flows.policy.host_files import filled
from flows.policy.mail_host.nouns import HostMailbox, MailHost

NO_PASSWORD = "{SHA512-CRYPT}*"  # noqa: S105 -- no hash at all: nothing matches it
FEEDBACK_QUOTA_MB = 2048


# Postfix's processes lose their line to a reloaded Dovecot, and would tell the next login to come back later.
RELOAD = "systemctl try-reload-or-restart dovecot && { ! systemctl -q is-active postfix@- || postfix reload; }"


# Dovecot looks at its users' file once in a second at most, and knows a new one by its size and its whole second.
NEXT_SECOND = """! systemctl -q is-active dovecot || sleep "$(date +%N | awk '{ print 1 - $1 / 1e9 }')\""""


def mailboxes(host: MailHost) -> Component:
    """The users, apart from Dovecot itself: it sees a new file by itself and needs no reload, only the next second.

    Without that wait an old password would open its mailbox for the rest of the second; and of two files of one length
    written in one second the later would never be read.
    """
    return Component(
        "mailboxes",
        files=(File("/etc/dovecot/penguin-users", users(host).encode(), mode="640", owner="root:dovecot"),),
        settle=NEXT_SECOND,
    )


def component(host: MailHost) -> Component:
    """Dovecot and the account its store belongs to."""
    account = "useradd --system --home-dir /var/vmail --create-home --shell /usr/sbin/nologin vmail"
    return Component(
        "dovecot",
        before=(
            Condition("vmail", "getent passwd vmail", account),
            Condition("store", "[ -d /var/vmail ]", "install -d -o vmail -g vmail -m 750 /var/vmail"),
        ),
        files=(File("/etc/dovecot/dovecot.conf", filled("dovecot.conf", {"HOSTNAME": host.hostname}).encode()),),
        check="doveconf -n >/dev/null",
        ports=("0.0.0.0:993",),
        settle=RELOAD,
        units=(Unit("dovecot"),),
    )


def users(host: MailHost) -> str:
    """One line a mailbox; the feedback mailbox takes mail even while nobody may log in to it."""
    lines = {mailbox.address: _line(mailbox) for mailbox in host.mailboxes}
    feedback = HostMailbox(host.feedback, NO_PASSWORD, FEEDBACK_QUOTA_MB, host.hostname)
    return "".join(
        line for _, line in sorted((lines | {host.feedback: lines.get(host.feedback, _line(feedback))}).items())
    )


def _line(mailbox: HostMailbox) -> str:
    if any(sign in mailbox.password_hash for sign in ":\n") or not mailbox.password_hash.startswith("{"):
        raise ValueError(f"the password of {mailbox.address} is no hash with its scheme")
    return f"{mailbox.address}:{mailbox.password_hash}::::::userdb_quota_rule=*:storage={mailbox.quota_mb}M\n"
