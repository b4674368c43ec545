"""Real Debian hosts in a world of their own, converged over SSH by the product's own hands."""

import asyncio
import imaplib
import smtplib
import ssl
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from pydantic import SecretStr

from flows.policy import convergence, mail_host, secure_host, verp
from flows.policy.convergence import Applied, Change, Desired, Facts, Refused
from flows.policy.mail_host import DkimSigner, HostMailbox, MailDomain, MailHost, SendingAddress, Upstream
from providers.errors import Unavailable, Unconfirmed
from providers.keys import DkimKey, hash_password, new_dkim_ed25519, new_dkim_rsa, new_ssh_key
from providers.ssh import Output, Shell, Ssh
from sandbox.world import World

WORKERS = IPv4Network("203.0.113.0/24")
SERVERS = IPv4Network("198.51.100.0/24")
RESOLVER = IPv4Address("203.0.113.53")
PASSWORD = "a password of the stories"
ROOT_PASSWORD = "CANARY-the-providers-password"
RECEIVER = "bigmail.example"
CAROL = f"carol@{RECEIVER}"
APPLY_SECONDS = 300
FIRST_CHANCES = 20
RETURN_PATH_KEY = bytes(range(verp.KEY_BYTES))


@dataclass(frozen=True)
class Keys:
    """One key pair of each algorithm, used by every domain of the stories."""

    rsa: DkimKey = field(default_factory=new_dkim_rsa)
    ed25519: DkimKey = field(default_factory=new_dkim_ed25519)


class Host:
    """One server: the wish for it, and what can be seen and said from outside."""

    def __init__(
        self, world: World, ssh: Ssh, name: str, addresses: Sequence[IPv4Address], domains: Sequence[str]
    ) -> None:
        self.world, self.name, self.addresses, self.domains = world, name, tuple(addresses), tuple(domains)
        self._ssh, self._key, self._keys = ssh, new_ssh_key(), Keys()
        self.security = secure_host.HostSecurity((WORKERS,), (self._key.public_line,))
        hashed = hash_password(SecretStr(PASSWORD))
        transports = [f"smtp-ip{place}" for place, _ in enumerate(addresses, 1)]
        helos = [f"mail{place if place > 1 else ''}.{domain}" for place, domain in enumerate(domains, 1)]
        self.mail = MailHost(
            hostname=helos[0],
            addresses=tuple(map(SendingAddress, addresses, helos, transports)),
            domains=tuple(
                MailDomain(d, t, self._signers(), (RETURN_PATH_KEY.hex(),))
                for d, t in zip(domains, transports, strict=True)
            ),
            mailboxes=tuple(
                HostMailbox(f"{local}@{domain}", hashed, 64, domain)
                for domain in domains
                for local in ("anna", "postmaster")
            ),
            first_day_cap=5,
            canary_cap=200,
            resolver=Upstream((RESOLVER,)),
        )

    def _signers(self) -> tuple[DkimSigner, ...]:
        rsa, ed25519 = self._keys.rsa.private_pem, self._keys.ed25519.private_pem
        return (
            DkimSigner("pm202611r", "rsa", rsa.get_secret_value()),
            DkimSigner("pm202611e", "ed25519", ed25519.get_secret_value()),
        )

    @property
    def secured(self) -> Desired:
        return secure_host.desired(self.security)

    @property
    def mailing(self) -> Desired:
        return mail_host.desired(self.mail)

    # --- as the flow goes about it ----------------------------------------------------------------------------------

    def boot(self, image: str, disk_mb: int | None = None) -> None:
        self.world.create_host(
            self.name, [str(self.addresses[0])], image=image, hostname="hwsrv-7.hostwindsdns.com",
            root_password=ROOT_PASSWORD, disk_mb=disk_mb,
        )  # fmt: skip

    async def first_contact(self) -> None:
        """Our key in, by the provider's password; sshd greets before it is ready for anybody."""
        for chance in range(FIRST_CHANCES, 0, -1):
            try:
                output = await self.run(secure_host.bootstrap_script(self._key.public_line), password=ROOT_PASSWORD)
            except Unavailable:
                if chance == 1:
                    raise
                await asyncio.sleep(0.5)
            else:
                assert output.status == 0, output.stderr
                return

    async def run(self, script: str, stdin: bytes = b"", *, password: str | None = None) -> Output:
        """One connection, one command."""
        async with self.connected(password) as shell:
            return await shell.run(script, stdin=stdin, timeout_seconds=APPLY_SECONDS)

    def connected(self, password: str | None = None) -> AbstractAsyncContextManager[Shell]:
        """One connection by our key, or by a password."""
        return self._ssh.connect(
            self.addresses[0],
            user="root",
            host_key=None,
            password=SecretStr(password) if password else None,
            private_key=None if password else self._key.private_openssh,
        )

    async def outcome_of(self, script: str, payload: bytes) -> Applied | Refused | None:
        """What came of a script; None if it did not live to tell."""
        try:
            output = await self.run(script, payload)
        except Unconfirmed:
            return None
        outcome = convergence.parse_outcome(output.status, output.stdout)
        return None if isinstance(outcome, Refused) and outcome.reason == "unfinished" else outcome

    async def look(self, wish: Desired) -> Facts:
        output = await self.run(convergence.facts_script(wish))
        assert output.stderr == ""
        return convergence.parse_facts(output.stdout)

    async def planned(self, wish: Desired) -> tuple[Change, ...]:
        return convergence.plan(wish, await self.look(wish))

    async def apply(self, changes: Iterable[Change], *, arm: int = 120, lock_wait: int = 60) -> Applied | Refused:
        script, payload = convergence.apply_script(changes, arm_seconds=arm, lock_wait_seconds=lock_wait)
        output = await self.run(script, payload)
        return convergence.parse_outcome(output.status, output.stdout)

    async def confirm(self) -> Applied | Refused:
        output = await self.run(convergence.confirm_script())
        return convergence.parse_outcome(output.status, output.stdout)

    async def converge(self, wish: Desired) -> tuple[Change, ...]:
        """Make it so, confirmed, and see that nothing is left to do."""
        changes = await self.planned(wish)
        if changes:
            outcome = await self.apply(changes)
            assert isinstance(outcome, Applied), outcome
        if convergence.needs_confirmation(changes):
            assert isinstance(await self.confirm(), Applied)
        left = await self.planned(wish)
        assert left == (), [change.summary for change in left]
        return changes

    # --- past SSH ---------------------------------------------------------------------------------------------------

    def on_host(self, script: str) -> str:
        code, out, err = self.world.exec(self.name, script)
        assert code == 0, f"{script}\nexit {code}\n{err.decode(errors='replace')}"
        return out.decode(errors="replace").strip()

    def publish(self) -> None:
        """What each domain needs in DNS for its mail to pass."""
        ed25519, rsa = self._keys.ed25519.public_b64, self._keys.rsa.public_b64
        for address, domain in zip(self.mail.addresses, self.domains, strict=True):
            spf = [f"v=spf1 ip4:{address.ip} -all"]
            self.world.add_zone(domain)
            self.world.dns_update(
                domain,
                replace=[
                    (f"{address.helo}.", "A", [str(address.ip)]),
                    (f"{address.helo}.", "TXT", spf),
                    (f"{domain}.", "TXT", spf),
                    (f"bounce.{domain}.", "MX", [f"10 {address.helo}."]),
                    (f"bounce.{domain}.", "TXT", spf),
                    (f"pm202611r._domainkey.{domain}.", "TXT", [f"v=DKIM1; k=rsa; p={rsa}"]),
                    (f"pm202611e._domainkey.{domain}.", "TXT", [f"v=DKIM1; k=ed25519; p={ed25519}"]),
                    (f"_dmarc.{domain}.", "TXT", ["v=DMARC1; p=reject"]),
                ],
            )
            self.world.set_ptr(str(address.ip), address.helo)

    # --- from outside, as a mail program or a stranger --------------------------------------------------------------

    def talk(self, port: int, *commands: str) -> list[int]:
        """The codes a stranger gets for raw SMTP commands after EHLO."""
        with self.world.enter_control():
            smtp = smtplib.SMTP(str(self.addresses[0]), port, timeout=30)
        try:
            smtp.ehlo("stranger.example")
            return [smtp.docmd(command)[0] for command in commands]
        finally:
            smtp.close()

    def submit(
        self,
        user: str,
        *,
        author: str | None = None,
        sender: str | None = None,
        to: Sequence[str] = (CAROL,),
        subject: str = "a story",
        password: str = PASSWORD,
        ca_file: Path | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, str]:
        """The code and text of the last answer to one message handed in by a mailbox that logged in.

        `raw` is the whole message, where its headers are the point.
        """
        if raw is None:
            message = EmailMessage()
            message["From"], message["To"], message["Subject"] = author or user, ", ".join(to), subject
            message["Message-ID"], message["Date"] = make_msgid(domain="story.example"), formatdate(usegmt=True)
            message.set_content("hello\n")
            raw = message.as_bytes()
        with self.world.enter_control():
            smtp = smtplib.SMTP(str(self.addresses[0]), 587, timeout=60)
        with smtp:
            smtp._host = self.mail.hostname  # what the certificate is checked for; the address was dialled
            smtp.starttls(context=_tls(ca_file))
            smtp.login(user, password)
            code, text = smtp.mail(user if sender is None else sender)
            for recipient in to if code < 400 else ():
                code, text = smtp.rcpt(recipient)
            if code < 400:
                try:
                    code, text = smtp.data(raw)
                except smtplib.SMTPDataError as refusal:
                    return refusal.smtp_code, _text(refusal.smtp_error)
            return code, _text(text)

    def return_path(self, domain: str, reference: int, *, days_ago: int = 0) -> str:
        """A return path of that domain as the product makes it."""
        sent_on = datetime.now(UTC).date() - timedelta(days=days_ago)
        return verp.return_path(RETURN_PATH_KEY, domain=domain, reference=reference, sent_on=sent_on)

    def feedback(self, path: str) -> EmailMessage:
        """The message to that return path in the feedback mailbox, as it lies in the store: nobody logs in there."""
        self.on_host("for i in $(seq 300); do postqueue -j | grep -q . || break; sleep 0.1; done")
        paths = self.on_host("find /var/vmail/*/feedback -type f -path '*/new/*'").split()
        found = [
            message_from_bytes(self.world.exec(self.name, f"cat {path}")[1], policy=policy.default) for path in paths
        ]
        (one,) = [message for message in found if path in str(message["To"])]
        return one

    def inbox(self, user: str, password: str = PASSWORD) -> list[EmailMessage]:
        """What lies in a mailbox, read over IMAPS once nothing is on its way any more."""
        self.on_host("for i in $(seq 300); do postqueue -j | grep -q . || break; sleep 0.1; done")
        with self.world.enter_control():
            imap = imaplib.IMAP4_SSL(str(self.addresses[0]), ssl_context=_tls(None), timeout=30)
        try:
            imap.login(user, password)
            imap.select("INBOX", readonly=True)
            numbers = imap.search(None, "ALL")[1][0].split()
            parts = [imap.fetch(number, "(BODY[])")[1][0] for number in numbers]
            return [message_from_bytes(part[1], policy=policy.default) for part in parts if isinstance(part, tuple)]
        finally:
            imap.logout()

    def message(self, user: str, subject: str) -> EmailMessage:
        """The one message of that subject in a mailbox of this host."""
        (found,) = [message for message in self.inbox(user) if message["Subject"] == subject]
        return found

    def arrived(self, subject: str, seconds: float = 60) -> EmailMessage:
        """The message as the receiver holds it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in self.world.receiver(RECEIVER).messages():
                if str(message.parsed["Subject"]).strip() == subject:
                    return message.parsed
            time.sleep(0.3)
        raise AssertionError(f"{subject} never arrived\n{self.on_host('tail -n 30 /var/log/mail.log')}")


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _text(reply: bytes | str) -> str:
    return reply if isinstance(reply, str) else reply.decode(errors="replace")


@contextmanager
def ssh_from_control(world: World) -> Generator[Ssh]:
    """The product's SSH, its threads in the control room for as long as they live."""
    entered: list[AbstractContextManager[None]] = []  # let go, they would leave the room at once

    def enter() -> None:
        entered.append(world.enter_control())
        entered[-1].__enter__()

    with ThreadPoolExecutor(4, initializer=enter) as threads:
        yield Ssh(allowed_networks=[SERVERS], executor=threads)
