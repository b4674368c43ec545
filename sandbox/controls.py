"""Negative controls of the demo: four tenants with one mistake each, none of which may become active."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.stage import Stage

# The host adds the claim to everything that leaves: as whoever controls a sender could.
FORGE = (
    "printf '/^Subject:/ PREPEND %s\\n' \"$(cat)\" >/etc/postfix/forge"
    " && postconf -e smtp_header_checks=pcre:/etc/postfix/forge && postfix reload && postqueue -f"
)


@dataclass(frozen=True, slots=True)
class Control:
    """One tenant that must not become active, and the word its reason has to hold."""

    domain: str
    mistake: str
    why: str
    story: Callable[[Stage, str], None]


def withheld_dkim(stage: Stage, domain: str) -> None:
    """Everything is published but the DKIM keys."""
    stage.sign_up("Beta", domain, by_api=False)
    stage.product.run("onboard", domain)
    stage.publish_by_hand(domain, leave_out="dkim-")
    stage.go_on(domain)


def foreign_spf(stage: Stage, domain: str) -> None:
    """The SPF records name another address."""
    stage.sign_up("Gamma", domain, by_api=False)
    stage.product.run("onboard", domain)

    def another(value: str) -> str:
        return re.sub(r"ip4:[0-9.]+", "ip4:192.0.2.99", value) if value.startswith("v=spf1") else value

    stage.publish_by_hand(domain, change=another)
    stage.go_on(domain)


def default_ptr(stage: Stage, domain: str) -> None:
    """The provider accepts the PTR request and does nothing."""
    stage.sign_up("Delta", domain, by_api=True)
    onboarding = stage.product.start("flows", "onboard", domain)
    while not (server := stage.backend.server_of(domain)):
        time.sleep(0.1)
    stage.admin.fault("ptr_never", label=server["instance_id"], times="forever")
    onboarding.wait()


def forged_results(stage: Stage, domain: str) -> None:
    """The message carries a header that claims a pass; the key in DNS is another one by the time it arrives."""
    stage.sign_up("Omega", domain, by_api=True)
    receiver = stage.world.receiver("bigmail.example")
    receiver.behave("defer", sender=domain)
    stage.product.run("onboard", domain)
    for row in stage.backend.rows(
        "SELECT selector FROM dkim_keys k JOIN domains d ON d.id = k.domain_id WHERE d.domain_name = %s", domain
    ):
        name = f"{row['selector']}._domainkey.{domain}."
        stage.world.dns_update(domain, replace=[(name, "TXT", ["v=DKIM1; k=ed25519; p=" + "A" * 43 + "="])])
    stage.world.zones.flush(domain)
    claim = f"Authentication-Results: mx.bigmail.example; spf=pass; dkim=pass header.d={domain}; dmarc=pass"
    stage.world.exec(stage.host_of(domain), FORGE.replace(" && postqueue -f", ""), claim.encode())
    receiver.clear()
    stage.world.exec(stage.host_of(domain), "postqueue -f")
    stage.go_on(domain)


CONTROLS: Sequence[Control] = (
    Control("beta.example", "DKIM record withheld", "dkim-", withheld_dkim),
    Control("gamma.example", "SPF without our IP", "spf", foreign_spf),
    Control("delta.example", "default PTR", "PTR", default_ptr),
    Control("omega.example", "forged Authentication-Results", "dkim-rsa", forged_results),
)
