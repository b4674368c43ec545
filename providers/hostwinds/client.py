"""The calls we make to Hostwinds, and no others; each order or change is sent once and never repeated here."""

import asyncio
import hashlib
import json
import logging
import re
import socket
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final, Literal, Self, TypeVar, cast
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from providers.errors import NotFound, Rejected, Unauthorized, Unavailable, Unconfirmed
from providers.hostwinds import assumptions, envelope
from providers.hostwinds.limiter import shared_limiter
from providers.hostwinds.types import FirewallProfile, ServerRows
from providers.hostwinds.wire import PROVIDER, Wire, told
from providers.vps import Accepted, Capabilities, InitialAccess, Server, ServerSpec, ServerState, SmtpFilter

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

POWER_ACTIONS: Final = {"on": "boot", "off": "shutdown", "restart": "reboot"}
SECRET_FIELDS = frozenset({"password", "configkey", "api", "ssh_keys"})


class Hostwinds:
    """One account. Errors are those of `providers/errors.py`; no reply, key or password is ever in one.

    `add_ip_action` names the vendor's call that buys an address, once it is known (HW-A09); its fields may
    hold `{serviceid}`. `sandbox` permits http to, and addresses of, the documentation ranges.
    """

    def __init__(  # noqa: PLR0913 - one knob each, named at the call
        self,
        *,
        api_key: SecretStr,
        base_url: str = assumptions.ENDPOINT,
        rate_per_second: float = assumptions.RATE_PER_SECOND,
        burst: int = assumptions.BURST,
        connect_timeout_seconds: float = assumptions.CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds: float = assumptions.READ_TIMEOUT_SECONDS,
        create_timeout_seconds: float = assumptions.CREATE_TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        sandbox: bool = False,
        login_user: str = assumptions.LOGIN_USER,
        add_ip_action: str | None = None,
        add_ip_fields: Mapping[str, str] | None = None,
    ) -> None:
        _require_safe(base_url, sandbox=sandbox)
        digest = hashlib.sha256(f"{base_url} {api_key.get_secret_value()}".encode()).hexdigest()
        self._wire = Wire(
            api_key=api_key,
            base_url=base_url,
            limiter=shared_limiter(digest, rate_per_second, burst),
            connect_timeout_seconds=connect_timeout_seconds,
            read_timeout_seconds=read_timeout_seconds,
            transport=transport,
        )
        self._url = base_url
        self._create_timeout_seconds = create_timeout_seconds
        self._sandbox = sandbox
        self._login_user = login_user
        self._add_ip_action = add_ip_action
        self._add_ip_fields = dict(add_ip_fields or {"serviceid": "{serviceid}"})
        self.oddities = self._wire.oddities  # counts of replies we did not expect, for `doctor`
        self.capabilities = Capabilities(
            name_unique=False,
            create_returns_id=False,
            add_ip=bool(add_ip_action),
            ptr_clear=False,
            ptr_needs_forward=True,
            smtp_filter_read=True,
            rate_per_second=rate_per_second,
        )

    async def __aenter__(self) -> Self:
        """Ready at once."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the kept connection."""
        await self._wire.__aexit__()

    async def list_servers(self) -> list[Server]:
        """All servers of the account, in one reply (HW-A21)."""
        return list((await self._server_rows()).servers)

    async def find_by_token(self, token: str) -> list[Server]:
        """Servers that carry exactly this label. Unavailable when one does but cannot be addressed."""
        rows = await self._server_rows()
        found = [server for server in rows.servers if server.token == token]
        if not found and token in rows.skipped_tokens:
            raise Unavailable(PROVIDER, "get_instances", "a server with this token is listed without its id")
        return found

    async def get_server(self, provider_id: str) -> Server:
        """One server; NotFound for a missing id and for somebody else's: the vendor does not tell them apart."""
        reply = await self._wire.ask("get_instance", serviceid=provider_id)
        return self._seen(self._read("get_instance", envelope.server(reply, provider_id, self._usable)))

    async def create_server(self, spec: ServerSpec, token: str) -> Accepted:
        """Order one paid server. The reply names no server: look for the token afterwards.

        Raises Unavailable only when nothing was sent, Unconfirmed when a server may exist.
        """
        if not re.fullmatch(assumptions.TOKEN_PATTERN, token):
            raise Rejected(PROVIDER, "add_instance", "the token has letters or a length that may not come back")
        keys = {"keys[]": list(spec.ssh_key_names)} if spec.ssh_key_names else {}
        items = await self._wire.change(
            "add_instance",
            money=True,
            read_timeout_seconds=self._create_timeout_seconds,
            template=spec.image,
            rid=spec.plan,
            location_id=spec.region,
            qty="1",
            srvrname=token,
            billingcycle=spec.billing_cycle,
            **keys,
        )
        complete = any(item.title.strip().lower() == assumptions.ORDER_TITLE for item in items)
        return Accepted(complete, evidence=tuple(told(item, self._wire.redacted) for item in items))

    async def destroy_server(self, provider_id: str, token: str) -> None:
        """End a server for ever; Rejected when it carries another token or is suspended."""
        server = await self.get_server(provider_id)
        if server.token != token:
            raise Rejected(PROVIDER, "terminate", f"service {provider_id} does not carry the token {token}")
        if server.state is ServerState.SUSPENDED:
            raise Rejected(PROVIDER, "terminate", f"service {provider_id} is suspended: an operator decides")
        await self._wire.change("terminate", serviceid=provider_id)

    async def power(self, provider_id: str, action: Literal["on", "off", "restart"]) -> None:
        """Switch a server; accepted only. A suspended one is never switched on."""
        if action != "off" and (await self.get_server(provider_id)).state is ServerState.SUSPENDED:
            raise Rejected(PROVIDER, POWER_ACTIONS[action], f"service {provider_id} is suspended: an operator decides")
        await self._wire.change(POWER_ACTIONS[action], serviceid=provider_id)

    async def set_lock(self, provider_id: str, *, locked: bool) -> None:
        """Lock or unlock. The vendor has a toggle only, so it is read before and after."""
        if (await self.get_server(provider_id)).locked == locked:
            return
        await self._wire.change("toggle_lock", serviceid=provider_id)
        if (await self.get_server(provider_id)).locked != locked:
            raise Unconfirmed(PROVIDER, "toggle_lock", "accepted, but the server does not show it")

    async def list_ips(self, provider_id: str) -> list[IPv4Address]:
        """All addresses of a server, the main one included."""
        reply = await self._wire.ask("get_instance_ips", serviceid=provider_id)
        return self._read("get_instance_ips", envelope.addresses(reply, self._usable))

    async def add_ip(self, provider_id: str) -> None:
        """Buy one more address; Rejected while the vendor's call for it is not configured."""
        if not self._add_ip_action:
            raise Rejected(
                PROVIDER, "add_ip", "no call is known that buys an address: an operator buys it in the panel"
            )
        fields = {name: text.replace("{serviceid}", provider_id) for name, text in self._add_ip_fields.items()}
        await self._wire.change(
            self._add_ip_action, money=True, read_timeout_seconds=self._create_timeout_seconds, **fields
        )

    async def remove_ip(self, provider_id: str, address: IPv4Address) -> None:
        """Give an extra address back; Rejected for the main one."""
        server = await self.get_server(provider_id)
        if server.ipv4_main is None:
            raise Unavailable(PROVIDER, "delete_ip", f"the main address of service {provider_id} is not shown now")
        if server.ipv4_main == address:
            raise Rejected(PROVIDER, "delete_ip", f"{address} is the main address of service {provider_id}")
        await self._wire.change("delete_ip", serviceid=provider_id, ip=str(address))

    async def set_ptr(self, provider_id: str, address: IPv4Address, name: str) -> None:
        """Ask for a PTR record, in lower case and without a last dot; DNS decides whether it came true."""
        hostname = name.rstrip(".").lower()
        if not hostname:
            raise Rejected(PROVIDER, "set_rdns", "a PTR cannot be cleared, as far as is known")
        await self._wire.change("set_rdns", serviceid=provider_id, ip=str(address), rdns=hostname)

    async def smtp_filters(self, provider_id: str) -> list[SmtpFilter]:
        """Outgoing mail blocks that Hostwinds placed on this server."""
        reply = await self._wire.ask("get_smtp_filters", serviceid=provider_id)
        return self._read("get_smtp_filters", envelope.smtp_filters(reply))

    async def firewall(self, provider_id: str) -> FirewallProfile:
        """The vendor's firewall in front of a server."""
        reply = await self._wire.ask("get_instance_firewall_profile", serviceid=provider_id)
        return self._read("get_instance_firewall_profile", envelope.firewall(reply))

    async def set_firewall(self, provider_id: str, profile: str) -> None:
        """Put a named profile in front of a server; accepted only."""
        await self._wire.change("set_instance_firewall", serviceid=provider_id, name=profile)

    async def initial_access(self, provider_id: str) -> InitialAccess:
        """The root password as it was at creation: it does not follow a change made inside the guest."""
        reply = await self._wire.ask("get_instance", serviceid=provider_id)
        self._read("get_instance", envelope.server(reply, provider_id, self._usable))
        return InitialAccess(self._login_user, self._read("get_instance", envelope.root_password(reply)))

    async def catalogues(self) -> dict[str, str]:
        """Lists of plans, images and places as the vendor prints them (HW-A17), secrets masked, by action.

        A list that is refused is there with the refusal: its action may not exist.
        """
        return {action: await self._catalogue(action) for action in assumptions.CATALOGUES}

    async def _catalogue(self, action: str) -> str:
        try:
            reply = await self._wire.ask(action, **assumptions.CATALOGUES[action])
        except Unauthorized:
            raise
        except Rejected as refused:
            return f"refused: {refused.detail}"
        return self._wire.redacted(json.dumps(_masked(reply.payload), indent=1, sort_keys=True))

    async def probe(self) -> dict[str, str]:
        """Put each reading call to a server that does not exist; what each answered. Nothing is changed or bought.

        A call that names the missing server is there; any other refusal is in the vendor's own words.
        """
        return {action: await self._probed(action) for action in assumptions.READS_OF_A_SERVER}

    async def _probed(self, action: str) -> str:
        try:
            await self._wire.ask(action, serviceid=assumptions.NO_SERVER)
        except NotFound:
            return "there"
        except Unauthorized:
            raise
        except Rejected as refused:
            return f"refused: {refused.detail}"
        return "answers for a server that does not exist"

    async def source_address(self) -> IPv4Address:
        """The IPv4 address our packets to the vendor leave with. Behind a NAT the key needs the public one instead."""
        url = urlsplit(self._url)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(url.hostname, url.port or 443, family=socket.AF_INET)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
                line.connect(found[0][4])  # chooses a route; no packet leaves
                return IPv4Address(line.getsockname()[0])
        except OSError as error:
            raise Unavailable(PROVIDER, "connect", f"no route ({type(error).__name__})") from error

    async def _server_rows(self) -> ServerRows:
        reply = await self._wire.ask("get_instances")
        rows = self._read("get_instances", envelope.servers(reply, self._usable))
        self.oddities["row without serviceid"] += rows.skipped
        for server in rows.servers:
            self._seen(server)
        return rows

    def _read(self, action: str, answer: Answer | None) -> Answer:
        """What the envelope made of a payload; None means that it holds something else than was asked."""
        if answer is None:
            self.oddities["unrecognised reply"] += 1
            raise Unavailable(PROVIDER, action, "the answer is not of a known shape")
        return answer

    def _seen(self, server: Server) -> Server:
        """Note a status word that is new to us, once: such a server is never taken for ready."""
        if server.state is ServerState.UNKNOWN:
            word = f"unknown word {str(server.details.get('status', ''))[:40]!r}"
            if not self.oddities[word]:
                log.warning("hostwinds get_instances: %s as a status", word)
            self.oddities[word] += 1
        return server

    def _usable(self, address: IPv4Address) -> bool:
        practice = any(address in network for network in assumptions.PRACTICE_NETWORKS)
        return practice if practice and self._sandbox else address.is_global


def _require_safe(base_url: str, *, sandbox: bool) -> None:
    """The key travels in the body: https, or http within a practice world. ValueError otherwise."""
    url = urlsplit(base_url)
    if url.scheme == "https" and url.hostname and not url.query:
        return
    if not (sandbox and url.scheme == "http" and not url.query and _is_practice_host(url.hostname or "")):
        raise ValueError("the address of Hostwinds must be https; http only to a practice world, with sandbox set")


def _is_practice_host(host: str) -> bool:
    try:
        address = IPv4Address(host)
    except AddressValueError:
        return host == "localhost"
    return address.is_loopback or any(address in network for network in assumptions.PRACTICE_NETWORKS)


def _masked(value: Any) -> Any:
    """The same document with every secret field blanked."""
    if isinstance(value, dict):
        rows = cast("Mapping[str, Any]", value).items()
        return {key: "[redacted]" if key.lower() in SECRET_FIELDS else _masked(inner) for key, inner in rows}
    if isinstance(value, list):
        return [_masked(inner) for inner in cast("list[Any]", value)]
    return value
