"""A second VPS provider, made up and of another temper: it names what it makes, sells addresses, clears a PTR."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Literal

from pydantic import SecretStr

from providers.errors import NotFound, Rejected
from providers.vps import Accepted, Capabilities, InitialAccess, Server, ServerSpec, ServerState, SmtpFilter

NAME = "other"
FIRST = IPv4Address("192.0.2.10")


ABLE = Capabilities(
    name_unique=True, create_returns_id=True, add_ip=True, ptr_clear=True, ptr_needs_forward=False,
    smtp_filter_read=False, rate_per_second=100,
)  # fmt: skip


@dataclass(slots=True)
class OtherProvider:
    """Everything happens at once, in this process."""

    capabilities: Capabilities = ABLE
    oddities: Counter[str] = field(default_factory=Counter[str])
    _servers: dict[str, Server] = field(default_factory=dict[str, Server])
    _addresses: dict[str, list[IPv4Address]] = field(default_factory=dict[str, list[IPv4Address]])

    async def find_by_token(self, token: str) -> list[Server]:
        return [server for server in self._servers.values() if server.token == token]

    async def list_servers(self) -> list[Server]:
        return list(self._servers.values())

    async def get_server(self, provider_id: str) -> Server:
        if provider_id not in self._servers:
            raise NotFound(NAME, "get_server", provider_id)
        return self._servers[provider_id]

    async def create_server(self, spec: ServerSpec, token: str) -> Accepted:
        if await self.find_by_token(token):
            raise Rejected(NAME, "create_server", "the name is taken")
        key, address = f"srv-{len(self._servers) + 1}", FIRST + 16 * len(self._servers)
        self._addresses[key] = [address]
        self._servers[key] = Server(
            NAME, key, token, ServerState.ACTIVE, busy=False, locked=False, ipv4_main=address, plan=spec.plan,
            image=spec.image, region=spec.region,
        )  # fmt: skip
        return Accepted(complete=True, server=self._servers[key])

    async def destroy_server(self, provider_id: str, token: str) -> None:
        if (await self.get_server(provider_id)).token != token:
            raise Rejected(NAME, "destroy_server", "another token")
        del self._servers[provider_id]

    async def power(self, provider_id: str, action: Literal["on", "off", "restart"]) -> None:
        state = ServerState.STOPPED if action == "off" else ServerState.ACTIVE
        self._servers[provider_id] = replace(await self.get_server(provider_id), state=state)

    async def list_ips(self, provider_id: str) -> list[IPv4Address]:
        await self.get_server(provider_id)
        return list(self._addresses[provider_id])

    async def add_ip(self, provider_id: str) -> None:
        held = await self.list_ips(provider_id)
        self._addresses[provider_id].append(held[-1] + 1)

    async def remove_ip(self, provider_id: str, address: IPv4Address) -> None:
        if address == (await self.get_server(provider_id)).ipv4_main:
            raise Rejected(NAME, "remove_ip", "the main address")
        self._addresses[provider_id].remove(address)

    async def set_ptr(self, provider_id: str, address: IPv4Address, name: str) -> None:
        if address not in await self.list_ips(provider_id):
            raise NotFound(NAME, "set_ptr", f"{address} {name}")

    async def smtp_filters(self, provider_id: str) -> list[SmtpFilter]:
        await self.get_server(provider_id)
        return []

    async def initial_access(self, provider_id: str) -> InitialAccess:
        await self.get_server(provider_id)
        return InitialAccess("debian", SecretStr("CANARY-other-password"))

    async def catalogues(self) -> Mapping[str, str]:
        return {"plans": "small"}

    async def probe(self) -> Mapping[str, str]:
        return {"get_server": "there"}

    async def source_address(self) -> IPv4Address:
        return IPv4Address("127.0.0.1")
