import errno
import re
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from sandbox.commands import run
from sandbox.network import addresses_of, entered, eth0_commands, mac_of, network_file, port_of
from sandbox.world import World

MX = "203.0.113.25"
HOST, MAIN, OTHER = "wire", "198.51.100.210", "198.51.100.211"
OUTSIDE = ["192.0.2.1", "9.9.9.9", "169.254.169.254", "10.0.0.1"]


@pytest.fixture(scope="module")
def wire(world: World) -> Iterator[World]:
    world.create_host(HOST, [MAIN, OTHER], hostname="wire.acme.example", root_password="s")
    yield world
    world.destroy_host(HOST)


def outcome(namespace: str, address: str, port: int, source: str | None = None) -> int:
    """Errno of a TCP connection attempt from a namespace; 0 when it stands."""
    with entered(namespace), socket.socket() as sock:
        sock.settimeout(1.0)
        if source:
            sock.bind((source, 0))
        try:
            return sock.connect_ex((address, port))
        except TimeoutError:
            return errno.ETIMEDOUT


@pytest.mark.sandbox
@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_outside_is_unreachable_at_once(wire: World, address: str) -> None:
    for namespace in (wire.network.control, wire.state.namespace(HOST)):
        assert outcome(namespace, address, 443) == errno.ENETUNREACH


@pytest.mark.sandbox
def test_no_interface_leads_out_of_the_switch(wire: World) -> None:
    listing = run("ip", "-n", wire.network.switch, "-o", "link", "show")
    names = set(re.findall(r"^\d+: ([\w.]+)", listing, re.MULTILINE))
    assert names - {"lo", "br0"} == {port_of(name) for name in ("ctl", "dns", "bigmail", HOST)} | (
        {port_of(note["name"]) for note in wire.state.noted("host")} & names
    )


@pytest.mark.sandbox
def test_a_thread_comes_home_from_the_control_room_even_by_an_exception(wire: World) -> None:
    def here() -> str:
        return run("readlink", "/proc/self/ns/net")

    home = here()
    with wire.enter_control():
        assert here() != home
    with pytest.raises(RuntimeError, match="fell"), wire.enter_control():
        raise RuntimeError("fell")
    assert here() == home


@pytest.mark.sandbox
@pytest.mark.parametrize("direction", ["out", "in"])
def test_port_25_is_dropped_for_one_address_only(wire: World, direction: str) -> None:
    """SB-A04: the switch drops by address and port, in one direction."""
    namespace, target = (wire.state.namespace(HOST), MX) if direction == "out" else (wire.network.control, MAIN)
    blocked = MAIN
    source = MAIN if direction == "out" else None
    expected = 0 if direction == "out" else errno.ECONNREFUSED  # nothing listens on a bare host
    assert outcome(namespace, target, 25, source) == expected
    wire.block_port25(blocked, direction, on=True)
    assert outcome(namespace, target, 25, source) in {errno.EAGAIN, errno.ETIMEDOUT}
    assert outcome(wire.network.control, MAIN, 22) == 0
    if direction == "out":
        assert outcome(namespace, MX, 25, OTHER) == 0
    for _ in range(2):
        wire.block_port25(blocked, direction, on=False)
    assert outcome(namespace, target, 25, source) == expected


@pytest.mark.sandbox
def test_an_address_that_is_not_routed_is_dead_and_its_neighbour_lives(wire: World) -> None:
    wire.route_address(HOST, OTHER, on=False)
    run("ip", "-n", wire.network.control, "neigh", "flush", "dev", "eth0")
    assert outcome(wire.network.control, OTHER, 22) != 0
    assert outcome(wire.network.control, MAIN, 22) == 0
    wire.route_address(HOST, OTHER, on=True)
    run("ip", "-n", wire.network.control, "neigh", "flush", "dev", "eth0")
    assert outcome(wire.network.control, OTHER, 22) == 0


def test_a_direction_that_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="out or in"):
        world.block_port25(MAIN, "sideways", on=True)


def test_hardware_addresses_follow_the_address() -> None:
    assert mac_of(IPv4Address("198.51.100.11")) == "02:00:c6:33:64:0b"


def test_port_names_fit_the_kernel() -> None:
    assert len(port_of("a-name-that-is-much-too-long")) == 15


def test_neither_eth0_nor_the_network_file_knows_a_gateway() -> None:
    addresses = addresses_of(["198.51.100.11"])
    for text in (eth0_commands(addresses), network_file(addresses)):
        assert "default" not in text
        assert "Gateway" not in text
        assert "203.0.113.0/24" in text


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "8.8.8.8"])
def test_an_address_of_another_world_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="not of this world"):
        addresses_of([address])
