"""What an installation has settled with its VPS provider, in words that fit any: flows read these, never its own."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from flows.settings import Settings


@dataclass(frozen=True, slots=True)
class VpsTerms:
    """What is ordered and at what price, how long it may take, and how often to look."""

    environment: str  # marks the servers of this installation at the provider
    plan: str
    image: str
    region: str
    billing_cycle: str
    ssh_key_names: tuple[str, ...]
    login_user: str
    monthly_cost: Decimal  # USD; our model, never an invoice
    address_monthly_cost: Decimal
    orders_per_day: int  # over all tenants
    listed_within: timedelta  # from an order to a row in the provider's list
    ready_within: timedelta  # from an order to a login
    poll_first_seconds: float
    poll_max_seconds: float
    ready_rounds_apart_seconds: float
    port25_probe_hosts: tuple[str, ...]
    key_expires_on: date | None
    practice: bool  # a sandbox: its addresses, its plain http, a clock that may be played with

    @property
    def label_prefix(self) -> str:
        """How the token of every server of ours begins."""
        return f"pm-{self.environment}-"


def terms_of(settings: Settings) -> VpsTerms:
    """The terms with the one provider there is."""
    group = settings.hostwinds
    minutes = (group.listed_window_minutes, group.active_window_minutes, group.ssh_window_minutes)
    return VpsTerms(
        environment=group.environment,
        plan=group.rid,
        image=group.template,
        region=group.location_id,
        billing_cycle=group.billingcycle,
        ssh_key_names=group.ssh_key_names,
        login_user=group.login_user,
        monthly_cost=group.monthly_cost_usd,
        address_monthly_cost=group.ip_monthly_cost_usd,
        orders_per_day=group.max_creates_per_day,
        listed_within=timedelta(minutes=group.listed_window_minutes),
        ready_within=timedelta(minutes=sum(minutes)),
        poll_first_seconds=group.poll_first_seconds,
        poll_max_seconds=group.poll_max_seconds,
        ready_rounds_apart_seconds=group.ready_rounds_apart_seconds,
        port25_probe_hosts=group.port25_probe_hosts,
        key_expires_on=group.api_key_expires_on,
        practice=group.sandbox,
    )


def missing_for_an_order(settings: Settings) -> list[str]:
    """Names of the provider's settings without which an order would end half way."""
    group = settings.hostwinds
    needed: dict[str, object] = {
        "hostwinds.api_key": group.api_key.get_secret_value(),
        "hostwinds.template": group.template,
        "hostwinds.rid": group.rid,
        "hostwinds.location_id": group.location_id,
        "hostwinds.environment": group.environment,
        "hostwinds.port25_probe_hosts": group.port25_probe_hosts,
        "hostwinds.api_key_expires_on": group.api_key_expires_on or group.sandbox,
    }
    return [name for name, value in needed.items() if not value]
