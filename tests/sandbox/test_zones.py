import dns.query
import dns.rcode
import dns.resolver
import dns.tsigkeyring
import dns.update
import pytest

from sandbox.network import AUTHORITATIVE, RESOLVER
from sandbox.world import World
from sandbox.zones import UpdateKey, UpdateRefused, Zones, first_zones, quoted, zone_file, zone_text


def ask(world: World, name: str, kind: str) -> list[str]:
    """What the world's resolver answers; the empty list for no such name or record."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.lifetime = [str(RESOLVER)], 5.0
    with world.enter_control():
        try:
            return sorted(record.to_text() for record in resolver.resolve(f"{name}.", kind))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []


@pytest.mark.sandbox
def test_an_update_that_bears_the_key_is_published(world: World) -> None:
    world.dns_update("acme.example", replace=[("signed", "A", ["198.51.100.7", "198.51.100.8"])])
    assert ask(world, "signed.acme.example", "A") == ["198.51.100.7", "198.51.100.8"]


@pytest.mark.sandbox
def test_an_update_without_a_key_is_refused(world: World) -> None:
    message = dns.update.UpdateMessage("acme.example.")
    message.add("unsigned", 5, "A", "198.51.100.7")
    with world.enter_control():
        reply = dns.query.tcp(message, str(AUTHORITATIVE), timeout=5)
    assert reply.rcode() in {dns.rcode.NOTAUTH, dns.rcode.REFUSED}
    assert ask(world, "unsigned.acme.example", "A") == []


@pytest.mark.sandbox
def test_an_update_under_a_wrong_key_is_refused(world: World) -> None:
    right = world.zones.key
    stranger = UpdateKey(right.name, right.algorithm, UpdateKey.fresh().secret)
    with pytest.raises(UpdateRefused, match="acme"):
        Zones(world.hosts, world.network, stranger).update("acme.example", replace=[("wrong", "A", ["198.51.100.7"])])
    assert ask(world, "wrong.acme.example", "A") == []


@pytest.mark.sandbox
def test_an_update_of_a_foreign_zone_says_why_it_failed(world: World) -> None:
    with pytest.raises(UpdateRefused, match="nowhere"):
        world.dns_update("nowhere.test", replace=[("@", "A", ["198.51.100.7"])])


@pytest.mark.sandbox
def test_replace_stands_for_the_whole_set_and_delete_for_none(world: World) -> None:
    world.dns_update("beta.example", replace=[("set", "TXT", ["one", "two"])])
    world.dns_update("beta.example", replace=[("set", "TXT", ["three"])])
    world.zones.flush("beta.example")
    assert ask(world, "set.beta.example", "TXT") == ['"three"']
    world.dns_update("beta.example", delete=[("set", "TXT")])
    world.zones.flush("beta.example")
    assert ask(world, "set.beta.example", "TXT") == []


@pytest.mark.sandbox
def test_long_text_arrives_whole(world: World) -> None:
    key = "v=DKIM1; k=rsa; p=" + "A" * 392
    world.dns_update("beta.example", replace=[("long", "TXT", [key])])
    (answer,) = ask(world, "long.beta.example", "TXT")
    assert "".join(answer.strip('"').split('" "')) == key


@pytest.mark.sandbox
def test_a_zone_added_at_run_time_keeps_the_journals_of_the_others(world: World) -> None:
    """SB-A03: one update before the reload, one after it, both there, and so after a restart of the server."""
    world.dns_update("gamma.example", replace=[("before", "A", ["198.51.100.1"])])
    world.add_zone("fresh.example")
    world.dns_update("gamma.example", replace=[("after", "A", ["198.51.100.2"])])
    world.dns_update("fresh.example", replace=[("www", "A", ["198.51.100.3"])])
    assert world.exec("dns", "systemctl restart knot")[0] == 0
    assert ask(world, "before.gamma.example", "A") == ["198.51.100.1"]
    assert ask(world, "after.gamma.example", "A") == ["198.51.100.2"]
    assert ask(world, "www.fresh.example", "A") == ["198.51.100.3"]


@pytest.mark.sandbox
def test_reverse_names_come_and_go(world: World) -> None:
    world.set_ptr("198.51.100.77", "mail.acme.example")
    assert ask(world, "77.100.51.198.in-addr.arpa", "PTR") == ["mail.acme.example."]
    world.set_ptr("198.51.100.77", None)
    world.zones.flush("100.51.198.in-addr.arpa")
    assert ask(world, "77.100.51.198.in-addr.arpa", "PTR") == []


@pytest.mark.sandbox
def test_a_default_name_of_the_provider_points_back(world: World) -> None:
    world.set_ptr("198.51.100.78", "hwsrv-78.hostwindsdns.com")
    assert ask(world, "hwsrv-78.hostwindsdns.com", "A") == ["198.51.100.78"]


@pytest.mark.sandbox
def test_a_listing_is_seen_at_once_and_so_is_its_end(world: World) -> None:
    name = "79.100.51.198.dnsbl.example"
    assert ask(world, name, "A") == []
    world.list_address("198.51.100.79", "dnsbl.example", "127.0.0.3")
    assert ask(world, name, "A") == ["127.0.0.3"]
    world.delist("198.51.100.79", "dnsbl.example")
    assert ask(world, name, "A") == []


@pytest.mark.sandbox
def test_each_blocklist_has_its_test_point(world: World) -> None:
    for zone in ("dnsbl.example", "dnsbl2.example", "dbl.example"):
        assert ask(world, f"2.0.0.127.{zone}", "A") == ["127.0.0.2"]


@pytest.mark.sandbox
def test_names_of_the_real_world_do_not_exist(world: World) -> None:
    assert ask(world, "www.iana.org", "A") == []


def test_the_key_is_in_no_repr() -> None:
    key = UpdateKey.fresh()
    assert key.secret not in repr(key)
    assert UpdateKey.fresh().secret != key.secret


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        ("A", "198.51.100.1", "198.51.100.1"),
        ("TXT", "v=spf1 -all", '"v=spf1 -all"'),
        ("TXT", 'say "x"\\', '"say \\"x\\"\\\\"'),
        ("TXT", "", '""'),
        ("TXT", "a" * 256, f'"{"a" * 255}" "a"'),
    ],
)
def test_values_are_written_as_master_files_want_them(kind: str, value: str, written: str) -> None:
    assert quoted(kind, value) == written


def test_the_root_zone_has_a_name_of_its_own() -> None:
    assert zone_file(".") == "root.zone"
    assert zone_text(".", []).startswith("$ORIGIN .\n")


def test_every_name_of_the_world_lies_in_a_served_zone() -> None:
    zones = first_zones({"bigmail.example": []}, [])
    assert {
        ".",
        "example",
        "penguin.example",
        "acme.example",
        "bigmail.example",
        "100.51.198.in-addr.arpa",
    } <= zones.keys()
