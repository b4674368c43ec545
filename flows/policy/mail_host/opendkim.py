"""OpenDKIM: two signers, one an algorithm, since one process signs with one only."""

import re
from collections.abc import Mapping

from flows.policy.convergence import Component, Condition, File, Unit
from flows.policy.host_files import filled, text
from flows.policy.mail_host.nouns import DkimSigner, MailDomain, MailHost

ALGORITHMS: Mapping[str, str] = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}
PORTS: Mapping[str, int] = {"rsa": 8891, "ed25519": 8892}  # on loopback
KEYS = "/etc/penguin/dkim"
NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def component(host: MailHost) -> Component:
    """Both signers with their keys and tables. A key signs only where its table names it."""
    keys = {_key_path(domain, signer): signer for domain in host.domains for signer in domain.dkim}
    files = [File(path, s.private_pem.encode(), "600", "opendkim:opendkim") for path, s in keys.items()]
    for kind in ALGORITHMS:
        files += _tables(host, kind)
    return Component(
        "opendkim",
        files=(*files, File("/etc/systemd/system/penguin-dkim@.service", text("penguin-dkim@.service").encode())),
        before=(_no_strays(tuple(keys)),),
        check=_check(tuple(keys)),
        ports=tuple(f"127.0.0.1:{port}" for port in PORTS.values()),
        settle=" && ".join(f"systemctl reload {_unit(kind)}" for kind in ALGORITHMS),
        units=(Unit("opendkim", enabled=False, active=False), *(Unit(_unit(kind)) for kind in ALGORITHMS)),
    )


def _unit(kind: str) -> str:
    return f"penguin-dkim@{kind}.service"


def _key_path(domain: MailDomain, signer: DkimSigner) -> str:
    if not NAME.fullmatch(domain.name) or not NAME.fullmatch(signer.selector):
        raise ValueError(f"not a domain and a selector: {domain.name!r}, {signer.selector!r}")
    return f"{KEYS}/{domain.name}/{signer.selector}.pem"


def _tables(host: MailHost, kind: str) -> list[File]:
    signing = [(d, s) for d in host.domains for s in d.dkim if s.signs and s.algorithm == kind]
    names = [f"{s.selector}._domainkey.{d.name}" for d, s in signing]
    keys = "".join(
        f"{name} {d.name}:{s.selector}:{_key_path(d, s)}\n" for name, (d, s) in zip(names, signing, strict=True)
    )
    senders = "".join(f"*@{d.name} {name}\n" for name, (d, _) in zip(names, signing, strict=True))
    values = {"PORT": str(PORTS[kind]), "ALGORITHM": ALGORITHMS[kind], "KIND": kind}
    return [
        File(f"/etc/penguin/opendkim-{kind}.conf", filled("opendkim.conf", values).encode(), restart=True),
        File(f"/etc/penguin/dkim-keys-{kind}", keys.encode()),
        File(f"/etc/penguin/dkim-senders-{kind}", senders.encode()),
    ]


def _check(keys: tuple[str, ...]) -> str:
    """A wrong key would stop a whole domain, so each is read before the signers see the tables."""
    readable = [f"openssl pkey -noout -in {path}" for path in keys]
    return " && ".join([*(f"opendkim -n -x /etc/penguin/opendkim-{kind}.conf" for kind in ALGORITHMS), *readable])


def _no_strays(keys: tuple[str, ...]) -> Condition:
    """A key the wish no longer names leaves the host."""
    listed = " ".join(("-path", "''", *(f"-o -path {path}" for path in keys)))
    stray = f"find {KEYS} -type f ! \\( {listed} \\)"
    return Condition("no-strays", f'[ -z "$({stray} 2>/dev/null)" ]', f"{stray} -delete")
