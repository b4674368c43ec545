"""Every knob: its unit, its default and one line. Read once, by `resources.py`."""

import os
from datetime import date
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from flows.setting_sources import Environment, SecretFiles
from sql.session import is_dsn

PREFIX = "PENGUINMAILS_"
VENDOR_URL = "https://clients.hostwinds.com/cloud/api.php"
DOCUMENTATION_NETWORKS = tuple(map(IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))  # RFC 5737


DSNS = (
    "core_dsn", "analytics_dsn", "core_listen_dsn", "analytics_listen_dsn", "core_migration_dsn",
    "analytics_migration_dsn",
)  # fmt: skip
"""Settings that are connection strings, and may hold a password."""


def data_home() -> Path:
    """Where the embedded database and its sealing key live when nothing else is said."""
    if os.geteuid() == 0:  # the embedded server runs as a user of its own, which cannot enter root's home
        return Path("/var/lib/penguinmails")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "penguinmails"


class Group(BaseModel):
    """One frozen group of settings; a name it does not know is a mistake worth stopping for."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


class Database(Group):
    """Where the truth is kept."""

    core_dsn: SecretStr | None = None
    """PostgreSQL 15 or newer for tenants, money, infrastructure; empty: the embedded server of one machine."""
    analytics_dsn: SecretStr | None = None
    """Analytics, notifications and the job queue; empty: the core database."""
    core_listen_dsn: SecretStr | None = None
    """Direct connection (no transaction pooler) for locks and LISTEN; empty: core_dsn."""
    analytics_listen_dsn: SecretStr | None = None
    """The same for the analytics database; empty: analytics_dsn."""
    core_migration_dsn: SecretStr | None = None
    """Login that may become penguin_owner; empty: core_dsn."""
    analytics_migration_dsn: SecretStr | None = None
    """The same for the analytics database; empty: analytics_dsn."""
    embedded_dir: Path = Field(default_factory=lambda: data_home() / "postgres")
    """Data folder of the embedded server."""
    pool_max: int = 4
    """Connections per process and database."""

    @field_validator(*DSNS)
    @classmethod
    def can_be_read(cls, dsn: SecretStr | None, field: ValidationInfo) -> SecretStr | None:
        """The driver would refuse it in words that hold the password: it is named here, without its value."""
        if dsn and not is_dsn(dsn.get_secret_value()):
            raise ValueError(
                f"{PREFIX}DATABASE__{str(field.field_name).upper()} is no connection string"
                " (its value is not shown): postgresql://USER:PASSWORD@HOST/DATABASE, or key=value"
            )
        return dsn


class Sealing(Group):
    """Keys that seal secrets before they enter the database."""

    keys: dict[str, SecretStr] = {}
    """Key id to 32 bytes in base64; empty with the embedded database: one is made beside it, mode 0600."""
    active_key_id: str = ""
    """Which of the keys seals new secrets."""


class HostwindsSettings(Group):
    """The VPS provider."""

    api_key: SecretStr = SecretStr("")
    """Key of the Cloud API; it works only from the IPv4 addresses listed in the panel."""
    api_key_expires_on: date | None = None
    """A key lives one year and dies silently; required outside the sandbox."""
    base_url: str = VENDOR_URL
    """One address for all actions."""
    template: str = ""
    """Image id from get_public_images (Debian 12); no default, ordering is refused without."""
    rid: str = ""
    """Plan id from get_price_list."""
    location_id: str = ""
    """Place id from get_locations."""
    environment: str = Field(default="", pattern="^[a-z0-9]{0,4}$")
    """Marks our servers of this installation (pm-<environment>-…); at most 4 characters, required to order."""
    billingcycle: str = "monthly"
    """Always sent with an order."""
    login_user: str = "root"
    """User of the first login."""
    ssh_key_names: tuple[str, ...] = ()
    """Names of keys an operator made in the panel."""
    rate_per_second: float = 1.0
    """Requests per second (their limit is not published)."""
    burst: int = 2
    """Requests that may leave at once."""
    connect_timeout_seconds: float = 10
    """Until a connection stands."""
    read_timeout_seconds: float = 60
    """Until an ordinary answer."""
    create_timeout_seconds: float = 120
    """Until the answer to an order."""
    listed_window_minutes: float = 15
    """From an order to a row in the server list."""
    active_window_minutes: float = 30
    """From there to ACTIVE."""
    ssh_window_minutes: float = 20
    """From there to a login."""
    poll_first_seconds: float = 5
    """First pause between looks; it grows to poll_max_seconds."""
    poll_max_seconds: float = 30
    """Longest pause between looks inside one step; a longer wait ends the process."""
    ready_rounds_apart_seconds: float = 15
    """Two looks this far apart must agree before a server counts as ready."""
    max_creates_per_day: int = 5
    """Orders per 24 hours over all tenants."""
    monthly_cost_usd: Decimal = Decimal("9.99")
    """Our model of a server's price, never an invoice."""
    ip_monthly_cost_usd: Decimal = Decimal("4.99")
    """Our model of an address's price."""
    port25_probe_hosts: tuple[str, ...] = ()
    """Three large MX hosts that answer 220; needed before anything is published."""
    add_ip_action: str = ""
    """Name of the action that buys an address, once it is known; empty: an operator buys in the panel."""
    add_ip_fields: dict[str, str] = {}
    """Its fields, e.g. {"serviceid": "{serviceid}"}."""
    sandbox: bool = False
    """Permits http to, and addresses in, the documentation ranges."""


class Dns(Group):
    """How we look at, and publish into, DNS."""

    resolver: IPv4Address = IPv4Address("127.0.0.1")
    """Our own recursive resolver."""
    resolver_port: int = 53
    """Its port."""
    platform_zone: str = ""
    """A zone of ours for indirect records; empty: dated selectors and ip4 terms stand in the tenant's zone."""
    dmarc_rua: str = ""
    """Mailbox for aggregate reports when there is no platform zone; empty: no rua tag."""
    timeout_seconds: float = 3
    """One question to one server."""
    publish_wait_seconds: float = 40
    """How long a run stays to see its own publication before it ends to wait."""
    repairs_a_day: int = Field(default=3, ge=0)
    """How often a day what went missing from a zone that we publish is put back; 0: never."""


class BlocklistSettings(Group):
    """How blocklists are asked; which ones stands in the table blocklist_zones."""

    spamhaus_dqs_key: SecretStr = SecretStr("")
    """Key of Spamhaus's Data Query Service; without it their lists say nothing."""
    abusix_key: SecretStr = SecretStr("")
    """Key of Abusix."""
    public_mirrors_allowed: bool = False
    """Ask free mirrors where a key is missing; their terms exclude commercial use."""
    chunk: int = Field(default=200, gt=0)
    """Addresses or domains in one task."""
    sweep_minutes: float = Field(default=8, gt=0)
    """How long one sweep goes on taking what is due; the next one begins after ten minutes."""


class SshSettings(Group):
    """How hosts are reached."""

    allowed_networks: tuple[IPv4Network, ...] = ()
    """Ranges our servers may stand in; empty: any global address."""
    worker_networks: tuple[IPv4Network, ...] = ()
    """Ranges that workers and operators come from: the hosts' firewalls admit SSH from these alone. Required."""
    connect_timeout_seconds: float = 10
    """Until the SSH handshake is done."""
    threads: int = 8
    """SSH sessions at once in one process."""


class ProofReceiver(Group):
    """A mailbox of ours at a receiver that writes Authentication-Results."""

    address: str
    """Where canaries go."""
    authserv_id: str
    """The receiver's own id; results under any other are ignored (RFC 8601 section 5)."""
    mx: str
    """Name of the MX as it stands in its Received header."""
    imap_host: str
    """Where the canary is read."""
    username: str
    """Login there."""
    password: SecretStr
    """Its password."""


class MailSettings(Group):
    """Proof of delivery."""

    ca_file: Path | None = None
    """Trust for SMTP and IMAP; empty: the system's store."""
    proof_receivers: tuple[ProofReceiver, ...] = ()
    """At least one, else nothing can become active."""
    arrival_wait_seconds: float = 30
    """How long a run stays for its canary before it ends to wait."""
    proof_max_age_hours: float = Field(default=24, gt=0)
    """A proof older than this is made again."""
    canaries_per_day: int = Field(default=10, gt=0)
    """Canaries of one domain, address and receiver in 24 hours; then a person is asked."""


class MailHostSettings(Group):
    """What runs on the hosts."""

    certificate_issuer: Literal["acme", "private_ca"] = "acme"
    """Who signs the hosts' certificates."""
    acme_directory: str = Field(default="", pattern=r"^(https://\S+)?$")
    """Directory address of an ACME authority; whoever sets it agrees to its terms of service."""
    acme_contact: str = ""
    """E-mail address the authority may write to; empty: none."""
    acme_ca_file: Path | None = None
    """Trust for the authority's own HTTPS; empty: the public authorities."""
    private_ca_cert_file: Path | None = None
    """Certificate of the private authority, PEM."""
    private_ca_key_file: Path | None = None
    """Its key, PEM."""
    certificate_days: int = 90
    """Life of a certificate we sign."""
    dns_upstream: IPv4Address | None = None
    """Upstream of the hosts' own resolvers; empty: they recurse from the roots."""
    apt_timeout_seconds: float = 900
    """Installing the packages."""


class Waits(Group):
    """How long a run may wait before a person is asked."""

    dns_days: float = 14
    """For a tenant to publish; then the run ends as failed, with what is missing."""
    provider_hours: float = 24
    """For the provider, the certificate authority or a receiver."""
    pace: float = Field(default=1, gt=0)
    """Factor on the pause before a waiting run looks again; below 1 in a world where time runs for people who wait."""
    sweep_seconds: float = Field(default=120, gt=0)
    """How often single-machine mode looks for waits that are due; with workers prefect.yaml says it."""
    schedules_slower: float = Field(default=1, ge=1)
    """Factor on the other intervals of single-machine mode: each scheduled run is a process of some CPU seconds."""


class Staff(Group):
    """Who the operators are."""

    platform_tenant: UUID | None = None
    """tenants.tenant_id whose staff are the operators; empty, or without staff: whoever is logged in is `bootstrap`."""
    actor: str = ""
    """E-mail address of the staff member who acts; --as says the same."""


class Billing(Group):
    """What an unpaid subscription leads to."""

    grace_days: float = Field(default=7, ge=0)
    """From the end of what is paid until the host refuses submission."""


class Jobs(Group):
    """The worker of the job queue."""

    slots: int = Field(default=100, gt=0)
    """Jobs at once in one process."""
    lease_seconds: float = Field(default=60, gt=0)
    """A worker that is not heard of for so long has lost its jobs; it beats every third of it."""
    poll_seconds: float = Field(default=1, gt=0)
    """First pause between looks when nothing is due; it grows to five times this. New jobs wake the worker at once."""
    stop_seconds: float = Field(default=30, ge=0)
    """After SIGTERM: for the jobs in hand to end; what is left is given back."""


class Notices(Group):
    """Mail of the platform to its people."""

    smtp_host: str = ""
    """Submission server (STARTTLS, AUTH PLAIN); empty: mails stay queued."""
    smtp_port: int = 587
    """Its port."""
    smtp_user: str = ""
    """Login there."""
    smtp_password: SecretStr = SecretStr("")
    """Its password."""
    sender: str = ""
    """Address the mails come from; its domain ends their Message-IDs. Required with smtp_host."""


class BackupSettings(Group):
    """Dumps of the databases, sealed."""

    store: str = ""
    """s3://BUCKET/PREFIX, or an absolute folder; empty: the folder `backups` beside the embedded server's data."""
    s3_endpoint: str = ""
    """Address of the S3 server; empty: Amazon's of the region."""
    s3_region: str = "us-east-1"
    """Its region."""
    s3_access_key_id: str = ""
    """Empty: the machine's own identity (environment, instance role)."""
    s3_secret_access_key: SecretStr = SecretStr("")
    """The key's secret."""
    timeout_seconds: float = 300
    """One request to the store; a large dump goes in parts."""
    client_dir: Path | None = None
    """Folder of pg_dump and pg_restore; empty: the oldest installed that are new enough for the server."""
    keep_daily: int = Field(default=7, ge=1)
    """Days that keep a dump."""
    keep_weekly: int = Field(default=4, ge=0)
    """Weeks that keep one."""
    keep_monthly: int = Field(default=12, ge=0)
    """Months that keep one."""


class Settings(BaseSettings):
    """All settings: environment, then files in PENGUINMAILS_SECRETS_DIR."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", secrets_nested_delimiter="__",
        secrets_dir=os.environ.get(f"{PREFIX}SECRETS_DIR"), secrets_dir_missing="error",
        hide_input_in_errors=True,
    )  # fmt: skip

    database: Database = Database()
    sealing: Sealing = Sealing()
    hostwinds: HostwindsSettings = HostwindsSettings()
    dns: Dns = Dns()
    blocklists: BlocklistSettings = BlocklistSettings()
    ssh: SshSettings = SshSettings()
    mail: MailSettings = MailSettings()
    mail_host: MailHostSettings = MailHostSettings()
    waits: Waits = Waits()
    backup: BackupSettings = BackupSettings()
    staff: Staff = Staff()
    billing: Billing = Billing()
    jobs: Jobs = Jobs()
    notices: Notices = Notices()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before secret files; no .env file is read."""
        del env_settings, dotenv_settings
        return init_settings, Environment(settings_cls), SecretFiles(file_secret_settings)

    @model_validator(mode="after")
    def only_the_sandbox_is_lax(self) -> Self:
        """Outside the sandbox no plain http, no documentation address."""
        if self.hostwinds.sandbox:
            return self
        if not self.hostwinds.base_url.startswith("https://"):
            raise ValueError("hostwinds.base_url must be https; only hostwinds.sandbox=true permits http")
        lax = [
            network
            for network in (*self.ssh.allowed_networks, *self.ssh.worker_networks, IPv4Network(self.dns.resolver))
            if any(network.subnet_of(documentation) for documentation in DOCUMENTATION_NETWORKS)
        ]
        if lax:
            raise ValueError(f"{lax[0]} is a documentation range; only hostwinds.sandbox=true permits it")
        return self
