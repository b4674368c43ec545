"""Where a story is played: a world, the product beside it, and everybody around them by the means they have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sandbox.backend import Backend
from sandbox.hostwinds.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.product import Product
    from sandbox.world import World


class Stage:
    """The back end writes tables, tenants sit at their DNS panels, operators at commands and the provider's panel."""

    def __init__(self, world: World, product: Product) -> None:
        """The world is up; `backend` knows the tables once the product serves."""
        self.world = world
        self.product = product
        self.admin = Admin(world.info["admin_socket"])
        self.backend = Backend("")

    def sign_up(self, name: str, domain: str, *, by_api: bool, more_domains: tuple[str, ...] = (), ips: int = 1) -> str:
        """The back end writes the tenant; with `by_api` also the credential of its DNS host."""
        tenant = self.backend.sign_up(name, domain, ["anna", "bert"], more_domains=more_domains, ips=ips)
        for owned in (domain, *more_domains):
            if self.world.exec("dns", f"knotc zone-status {owned}")[0]:
                self.world.add_zone(owned)
            if by_api:
                tsig = self.world.info["tsig"]
                path = f"dns/{owned}"
                self.product.run("secret", "put", path, "--tenant", tenant, stdin=tsig["secret"])
                self.backend.use_dns_host(
                    owned, server=self.world.info["authoritative"], key_name=tsig["name"], secret_path=path
                )
        domains = ", ".join((domain, *more_domains))
        bought = f"{ips} address{'es' * (ips > 1)}, anna and bert at each domain"
        say(f"the back end wrote {name}: {domains}; {bought}; DNS {'by API' if by_api else 'by hand'}")
        return tenant

    def publish_by_hand(
        self, domain: str, leave_out: str = "", change: Callable[[str], str] = str, *, appended: bool = False
    ) -> None:
        """The tenant at its DNS panel: every record the web application shows, with the mistake."""
        for record in self.backend.records_to_publish(domain):
            if record["holder"] != "tenant" or record["need"] == "optional":
                continue
            if leave_out and record["record_key"].startswith(leave_out):
                continue
            values = [change(value) for value in record["value"]]
            owner = absolute(f"{record['name'].rstrip('.')}.{domain}" if appended else record["name"])
            self.world.dns_update(domain, replace=[(owner, record["record_type"], values)])
        self.world.zones.flush(domain)

    def status(self, word: str) -> dict[str, Any]:
        """`status --json` of one tenant."""
        found = self.product.run("status", word, "--json")
        return json.loads(found.stdout) if found.stdout.strip() else {"status": "none", "detail": found.stderr}

    def go_on(self, domain: str) -> None:
        """The operator presses retry."""
        self.product.run("retry", self.status(domain)["run"], "--yes")

    def host_of(self, domain: str) -> str:
        """The sandbox's name of a domain's server."""
        return f"s{self.backend.server_of(domain)['hostwind_id']}"


def absolute(name: str) -> str:
    """An owner that is not taken as relative to its zone."""
    return f"{name.rstrip('.')}."


def say(sentence: str) -> None:
    """One line of the story."""
    print(f"\n• {sentence}", flush=True)
