"""What a program needs to know of a world, and the same as the product's settings: it never asks where it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.blocklists import LICENCE
from sandbox.network import CONTROL

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Info:
    """All that a program needs to know of a world; written as info.json, secrets included."""

    world: str
    api_url: str
    api_key: str = field(repr=False)
    admin_socket: str
    resolver: str
    authoritative: str
    tsig: dict[str, str] = field(repr=False)
    ca_file: str
    ca_key_file: str
    trust_file: str
    acme_directory: str
    control_namespace: str
    log_dir: str
    state_dir: str
    receivers: list[dict[str, Any]] = field(repr=False)
    port25_probe_hosts: list[str]
    server_networks: list[str]
    template: str
    rid: str
    location_id: str

    def as_json(self) -> str:
        """Write it as indented JSON."""
        return json.dumps(asdict(self), indent=2) + "\n"


# Time in the world runs for people who wait: what takes a provider minutes takes its emulator a second.
SHORT_WAITS = {
    "HOSTWINDS__LISTED_WINDOW_MINUTES": "1",
    "HOSTWINDS__ACTIVE_WINDOW_MINUTES": "3",
    "HOSTWINDS__SSH_WINDOW_MINUTES": "3",
    "HOSTWINDS__POLL_FIRST_SECONDS": "0.3",
    "HOSTWINDS__POLL_MAX_SECONDS": "1",
    "HOSTWINDS__READY_ROUNDS_APART_SECONDS": "1",
    "HOSTWINDS__RATE_PER_SECOND": "50",
    "HOSTWINDS__BURST": "50",
    # The machine belongs to the hosts: what is to happen in a world is asked for, or found by the sweep for waits.
    "WAITS__SCHEDULES_SLOWER": "60",
}


def settings_of(info: dict[str, Any]) -> dict[str, str]:
    """Turn a world's info into environment variables of the product; its database settings are left alone."""
    values = {
        "HOSTWINDS__API_KEY": info["api_key"],
        "HOSTWINDS__BASE_URL": info["api_url"],
        "HOSTWINDS__SANDBOX": "true",
        "HOSTWINDS__TEMPLATE": info["template"],
        "HOSTWINDS__RID": info["rid"],
        "HOSTWINDS__LOCATION_ID": info["location_id"],
        "HOSTWINDS__ENVIRONMENT": "box",
        "HOSTWINDS__PORT25_PROBE_HOSTS": json.dumps(info["port25_probe_hosts"]),
        "DNS__RESOLVER": info["resolver"],
        "BLOCKLISTS__SPAMHAUS_DQS_KEY": LICENCE,
        "SSH__ALLOWED_NETWORKS": json.dumps(info["server_networks"]),
        "SSH__WORKER_NETWORKS": json.dumps([f"{CONTROL}/32"]),
        "MAIL__CA_FILE": info["trust_file"],
        # The strict one; whoever wants a proof at every receiver says so (proof_at).
        "MAIL__PROOF_RECEIVERS": proof_at(info["receivers"][:1]),
        "MAIL_HOST__DNS_UPSTREAM": info["resolver"],
        "MAIL_HOST__CERTIFICATE_ISSUER": "private_ca",
        "MAIL_HOST__ACME_DIRECTORY": info["acme_directory"],
        "MAIL_HOST__ACME_CA_FILE": info["ca_file"],
        "MAIL_HOST__PRIVATE_CA_CERT_FILE": info["ca_file"],
        "MAIL_HOST__PRIVATE_CA_KEY_FILE": info["ca_key_file"],
        **SHORT_WAITS,
    }
    settings = {f"PENGUINMAILS_{name}": value for name, value in values.items()}
    return settings | {
        "PENGUINMAILS_SANDBOX__STATE_DIR": info["state_dir"].rpartition("/")[0],
        "PENGUINMAILS_SANDBOX__WORLD": info["world"],
    }


def proof_at(receivers: Sequence[dict[str, Any]]) -> str:
    """The value of the product's setting that names where its proofs go."""
    return json.dumps([proof_receiver(receiver) for receiver in receivers])


def proof_receiver(receiver: dict[str, Any]) -> dict[str, str]:
    """A mailbox at a receiver, in the words of the product's settings."""
    return {
        "address": receiver["mailbox"],
        "authserv_id": receiver["authserv_id"],
        "mx": receiver["mx"],
        "imap_host": receiver["imap_host"],
        "username": receiver["mailbox"],
        "password": receiver["password"],
    }
