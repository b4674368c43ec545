"""What the emulator needs of the world around it, and a world without hosts."""

from collections.abc import Sequence
from typing import Protocol


class Hosts(Protocol):
    """Real machines and their network. Every call may take seconds and may raise OSError or RuntimeError."""

    def create_host(
        self, name: str, addresses: Sequence[str], *, image: str, hostname: str, root_password: str
    ) -> None:
        """Boot a host; return when SSH answers."""
        ...

    def destroy_host(self, name: str) -> None:
        """Remove a host; gone already is well."""
        ...

    def restart_host(self, name: str) -> None:
        """Cut the power and boot again."""
        ...

    def exec(self, host: str, script: str) -> tuple[int, bytes, bytes]:
        """Run a script inside a host, past SSH; exit code, output, complaints. LookupError without such a host."""
        ...

    def set_ptr(self, address: str, name: str | None) -> None:
        """Set or remove a reverse name."""
        ...

    def list_address(self, ip: str, zone: str, code: str = "127.0.0.2") -> None:
        """Put an address on a blocklist."""
        ...

    def block_port25(self, address: str, direction: str, on: bool) -> None:
        """Drop SMTP from (`out`) or to (`in`) an address."""
        ...

    def route_address(self, name: str, address: str, on: bool) -> None:
        """Carry an address to its host, or drop all that concerns it."""
        ...


class NoHosts:
    """The API alone: every wish is noted and nothing is made."""

    def __init__(self) -> None:
        """Start with an empty list of wishes."""
        self.wishes: list[tuple[str, ...]] = []

    def create_host(
        self, name: str, addresses: Sequence[str], *, image: str, hostname: str, root_password: str
    ) -> None:
        """Note it; the password is left out."""
        del root_password
        self.wishes.append(("create_host", name, *addresses, image, hostname))

    def destroy_host(self, name: str) -> None:
        """Note it."""
        self.wishes.append(("destroy_host", name))

    def restart_host(self, name: str) -> None:
        """Note it."""
        self.wishes.append(("restart_host", name))

    def exec(self, host: str, script: str) -> tuple[int, bytes, bytes]:
        """Note it."""
        self.wishes.append(("exec", host, script))
        return 0, b"", b""

    def set_ptr(self, address: str, name: str | None) -> None:
        """Note it."""
        self.wishes.append(("set_ptr", address, name or ""))

    def list_address(self, ip: str, zone: str, code: str = "127.0.0.2") -> None:
        """Note it."""
        self.wishes.append(("list_address", ip, zone, code))

    def block_port25(self, address: str, direction: str, on: bool) -> None:
        """Note it."""
        self.wishes.append(("block_port25", address, direction, "on" if on else "off"))

    def route_address(self, name: str, address: str, on: bool) -> None:
        """Note it."""
        self.wishes.append(("route_address", name, address, "on" if on else "off"))
