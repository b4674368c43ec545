"""The host's certificate. Key and request are made on the host; the key never leaves it."""

import re
import shlex
from collections.abc import Sequence

from flows.policy.convergence import Component, Condition, Desired, File
from flows.policy.mail_host.dovecot import RELOAD
from flows.policy.mail_host.nouns import MailHost

FOLDER = "/etc/ssl/penguin"
KEY = f"{FOLDER}/mail.key"
CERTIFICATE = f"{FOLDER}/mail.crt"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")

_MAKE_KEY = (
    f"install -d -m 755 {FOLDER} && (umask 077 && openssl genpkey -algorithm EC"
    f" -pkeyopt ec_paramgen_curve:P-256 -out {KEY}.part && mv -fT {KEY}.part {KEY})"
)
_HAS_KEY = f"openssl pkey -in {KEY} -noout"
_FITS = (
    f"[ -s {CERTIFICATE} ] && "
    f'[ "$(openssl x509 -in {CERTIFICATE} -noout -pubkey)" = "$(openssl pkey -in {KEY} -pubout)" ]'
)


def component(host: MailHost) -> Component:
    """The key, and the certificate: the one given, or one the host signs itself until there is one."""
    return _component(host.hostname, host.certificate_pem)


def certificate_alone(hostname: str, certificate_pem: str) -> Desired:
    """A host that shows this certificate; nothing else of it is looked at."""
    return Desired(components=(_component(hostname, certificate_pem),))


def _component(hostname: str, certificate_pem: str | None) -> Component:
    subject = f"-subj /CN={hostname} -addext subjectAltName=DNS:{hostname}"
    stand_in = f"openssl req -x509 -new -key {KEY} -days 30 {subject} -out {CERTIFICATE}"
    given = (File(CERTIFICATE, certificate_pem.encode()),) if certificate_pem else ()
    fits = Condition("certificate", _FITS, stand_in, settles=True)
    return Component(
        "certificate",
        before=(Condition("key", _HAS_KEY, _MAKE_KEY), *(() if given else (fits,))),
        files=given,
        check=_FITS,
        settle=f"! systemctl -q is-active dovecot || {{ {RELOAD}; }}",
    )


def csr_script(names: Sequence[str]) -> str:
    """Prints a certificate request for `names` in PEM, making the key first if there is none."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"not a host name: {name!r}")
    san = shlex.quote("subjectAltName=" + ",".join(f"DNS:{name}" for name in names))
    return "\n".join(
        (
            "set -e",
            f"{_HAS_KEY} 2>/dev/null || {{ {_MAKE_KEY}; }} >&2",
            f"openssl req -new -sha256 -key {KEY} -subj {shlex.quote(f'/CN={names[0]}')} -addext {san}",
            "",
        )
    )
