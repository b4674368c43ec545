import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import dns.flags
import pytest

from providers.resolver import ENDLESS, Outcome, Resolver
from tests.support.nameserver import Fault, NameServer, serving

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
LONG = base64.b64encode(bytes(range(256))).decode()
RECORDS = f"""
    . 60 SOA a.root.example. hostmaster.example. 1 60 60 60 60
    acme.example. 300 SOA ns1.acme.example. hostmaster.acme.example. 1 60 60 60 30
    acme.example. 300 NS ns1.acme.example.
    acme.example. 300 NS ns2.acme.example.
    acme.example. 300 TXT "v=spf1 " "-all"
    acme.example. 300 MX 10 Mail.Acme.Example.
    ns1.acme.example. 300 A 127.0.0.2
    ns2.acme.example. 300 A 127.0.0.3
    mail.acme.example. 120 A 198.51.100.50
    mail.acme.example. 120 A 198.51.100.9
    s1._domainkey.acme.example. 300 TXT "p={LONG[:250]}" "{LONG[250:]}"
    alias.acme.example. 90 CNAME mail.acme.example.
    wide.acme.example. 90 CNAME beta.example.
    dangling.acme.example. 90 CNAME nowhere.acme.example.
    away.acme.example. 90 CNAME key.beta.example.
    loop1.acme.example. 90 CNAME loop2.acme.example.
    loop2.acme.example. 90 CNAME loop1.acme.example.
    beta.example. 300 SOA ns.beta.example. hostmaster.beta.example. 1 60 60 60 30
    beta.example. 300 NS ns.beta.example.
    ns.beta.example. 300 A 127.0.0.4
    key.beta.example. 300 TXT "p=abc"
    50.100.51.198.in-addr.arpa. 300 PTR mail.acme.example.
"""


@asynccontextmanager
async def asking(*, tries: int = 1, timeout_seconds: float = 10, **servers: NameServer) -> AsyncIterator[Resolver]:
    """Give a Resolver over the server `recursive`; others are named `on_<last octet>`."""
    named = {FIRST if name == "recursive" else f"127.0.0.{name[3:]}": server for name, server in servers.items()}
    async with serving(named) as port:
        yield Resolver([FIRST], timeout_seconds=timeout_seconds, tries=tries, port=port)


async def ask(name: str, rtype: str, *, timeout_seconds: float = 10, **faults):
    async with asking(recursive=NameServer(RECORDS, faults=faults), timeout_seconds=timeout_seconds) as resolver:
        return await resolver.ask(name, rtype)


async def test_an_answer_tells_values_time_and_source() -> None:
    before = datetime.now(UTC)
    answer = await ask("mail.acme.example", "A")
    assert answer.outcome is Outcome.FOUND
    assert answer.values == ("198.51.100.50", "198.51.100.9")
    assert (answer.ttl_seconds, answer.server, answer.rcode) == (120, FIRST, "NOERROR")
    assert before <= answer.asked_at <= datetime.now(UTC)


async def test_strings_of_a_text_record_are_joined_without_a_space() -> None:
    assert (await ask("acme.example", "TXT")).values == ("v=spf1 -all",)
    assert (await ask("s1._domainkey.acme.example", "TXT")).values == (f"p={LONG}",)


async def test_names_in_answers_are_absolute_and_lower_case() -> None:
    assert (await ask("ACME.example", "MX")).values == ("10 mail.acme.example.",)
    assert (await ask("50.100.51.198.in-addr.arpa", "PTR")).values == ("mail.acme.example.",)


async def test_a_name_that_does_not_exist_is_absent_and_says_for_how_long() -> None:
    answer = await ask("nowhere.acme.example", "A")
    assert (answer.outcome, answer.nxdomain, answer.negative_ttl_seconds) == (Outcome.ABSENT, True, 30)
    assert (answer.values, answer.ttl_seconds, answer.rcode) == ((), None, "NXDOMAIN")


async def test_a_name_without_this_type_is_absent_but_exists() -> None:
    answer = await ask("mail.acme.example", "TXT")
    assert (answer.outcome, answer.nxdomain) == (Outcome.ABSENT, False)


async def test_an_alias_is_followed_and_named() -> None:
    answer = await ask("alias.acme.example", "A")
    assert answer.values == ("198.51.100.50", "198.51.100.9")
    assert answer.cname == ("mail.acme.example.",)
    assert answer.ttl_seconds == 90


async def test_a_dangling_alias_is_absent_with_its_target_named() -> None:
    answer = await ask("dangling.acme.example", "A")
    assert (answer.outcome, answer.nxdomain) == (Outcome.ABSENT, True)
    assert answer.cname == ("nowhere.acme.example.",)


async def test_an_alias_can_be_asked_for_itself() -> None:
    assert (await ask("alias.acme.example", "CNAME")).values == ("mail.acme.example.",)


async def test_a_circle_of_aliases_is_broken_and_ends() -> None:
    assert (await ask("loop1.acme.example", "A")).outcome is Outcome.BROKEN


@pytest.mark.parametrize(("hops", "outcome"), [(8, Outcome.FOUND), (9, Outcome.BROKEN)])
async def test_eight_aliases_are_followed_and_not_nine(hops, outcome) -> None:
    chain = "".join(f"h{n}.acme.example. 60 CNAME h{n + 1}.acme.example.\n" for n in range(hops))
    server = NameServer(f"{chain} h{hops}.acme.example. 60 TXT end")
    async with asking(recursive=server) as resolver:
        assert (await resolver.ask("h0.acme.example", "TXT")).outcome is outcome


async def test_a_resolver_that_leaves_an_alias_open_is_asked_for_its_target() -> None:
    server = NameServer(RECORDS, zones=("acme.example", "beta.example"))
    server.zone_of = lambda name: "acme.example" if server.asked[-1].name == name.to_text() else None
    async with asking(recursive=server) as resolver:
        answer = await resolver.ask("away.acme.example", "TXT")
    assert (answer.values, answer.cname) == (("p=abc",), ("key.beta.example.",))
    assert server.asked_for("key.beta.example.") == [("TXT", "udp")]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("servfail", Outcome.SERVFAIL),
        ("refused", Outcome.REFUSED),
        ("formerr", Outcome.BROKEN),
        ("silent", Outcome.TIMEOUT),
        ("wrong_id", Outcome.TIMEOUT),
        ("wrong_question", Outcome.TIMEOUT),
        ("garbage", Outcome.TIMEOUT),
        ("truncated_then_silent", Outcome.TIMEOUT),
        ("truncated_then_garbage", Outcome.BROKEN),
        ("referral", Outcome.BROKEN),
    ],
)
async def test_what_a_server_cannot_say_is_never_called_missing(fault, outcome) -> None:
    patience = 0.3 if outcome is Outcome.TIMEOUT else 10
    answer = await ask("acme.example", "TXT", timeout_seconds=patience, **{"acme.example.": fault})
    assert (answer.outcome, answer.values) == (outcome, ())
    assert not answer.outcome.settled


async def test_a_truncated_answer_is_fetched_over_tcp() -> None:
    server = NameServer(RECORDS, faults={"acme.example.": "truncated"})
    async with asking(recursive=server) as resolver:
        assert (await resolver.ask("acme.example", "TXT")).values == ("v=spf1 -all",)
    assert server.asked_for("acme.example.") == [("TXT", "udp"), ("TXT", "tcp")]


async def test_a_silent_server_is_asked_as_often_as_told() -> None:
    server = NameServer(RECORDS, faults={"acme.example.": "silent"})
    async with asking(recursive=server, tries=3, timeout_seconds=0.1) as resolver:
        assert (await resolver.ask("acme.example", "TXT")).outcome is Outcome.TIMEOUT
    assert len(server.asked) == 3


async def test_a_lost_question_is_asked_again() -> None:
    server = NameServer(RECORDS, faults={"acme.example.": "silent_once"})
    async with asking(recursive=server, tries=2, timeout_seconds=1) as resolver:
        assert (await resolver.ask("acme.example", "TXT")).outcome is Outcome.FOUND


@pytest.mark.parametrize("fault", ["silent", "servfail", "refused"])
async def test_the_next_server_is_asked_when_the_first_cannot_say(fault) -> None:
    first, second = NameServer(RECORDS, faults={"acme.example.": fault}), NameServer(RECORDS)
    async with serving({FIRST: first, SECOND: second}) as port:
        answer = await Resolver([FIRST, SECOND], timeout_seconds=1, tries=1, port=port).ask("acme.example", "TXT")
    assert (answer.outcome, answer.server) == (Outcome.FOUND, SECOND)


async def test_a_refusal_says_more_than_another_servers_silence() -> None:
    faults = ({"acme.example.": "silent"}, {"acme.example.": "servfail"}, {"acme.example.": "silent"})
    servers = {f"127.0.0.{n}": NameServer(faults=fault) for n, fault in enumerate(faults, 1)}
    async with serving(servers) as port:
        answer = await Resolver(list(servers), timeout_seconds=0.5, tries=2, port=port).ask("acme.example", "TXT")
    assert answer.outcome is Outcome.SERVFAIL
    assert [len(server.asked) for server in servers.values()] == [2, 1, 2]


async def test_a_server_that_nobody_runs_is_a_time_out() -> None:
    answer = await Resolver([FIRST], timeout_seconds=0.2, tries=1, port=1).ask("acme.example", "TXT")
    assert answer.outcome is Outcome.TIMEOUT


async def test_one_server_can_be_asked_by_address() -> None:
    first, second = NameServer(), NameServer(RECORDS)
    async with serving({FIRST: first, SECOND: second}) as port:
        answer = await Resolver([FIRST], port=port).ask("acme.example", "TXT", at=SECOND)
    assert (answer.outcome, answer.server) == (Outcome.FOUND, SECOND)
    assert not first.asked


async def test_checking_can_be_disabled_to_see_what_validation_holds_back() -> None:
    server = NameServer(RECORDS, faults={"acme.example.": "servfail_unless_cd"})
    async with asking(recursive=server) as resolver:
        assert (await resolver.ask("acme.example", "TXT")).outcome is Outcome.SERVFAIL
        assert (await resolver.ask("acme.example", "TXT", checking_disabled=True)).outcome is Outcome.FOUND


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "x." * 140])
async def test_a_name_that_cannot_exist_is_broken_and_never_asked(name) -> None:
    server = NameServer(RECORDS)
    async with asking(recursive=server) as resolver:
        assert (await resolver.ask(name, "A")).outcome is Outcome.BROKEN
        assert (await resolver.authorities(name)).outcome is Outcome.BROKEN
        assert [answer.outcome for answer in await resolver.ask_authorities(name, "A")] == [Outcome.BROKEN]
    assert not server.asked


async def test_no_search_suffix_is_added() -> None:
    server = NameServer(RECORDS)
    async with asking(recursive=server) as resolver:
        await resolver.ask("mail", "A")
    assert [asked.name for asked in server.asked] == ["mail."]


@pytest.mark.parametrize(("servers", "tries"), [([], 1), ([FIRST], 0)])
def test_a_resolver_without_servers_or_tries_is_a_mistake(servers, tries) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Resolver(servers, tries=tries)


async def test_an_unknown_record_type_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="record type"):
        await Resolver([FIRST]).ask("acme.example", "PARCHMENT")


@pytest.mark.parametrize(
    "name",
    [
        "acme.example",
        "s1._domainkey.acme.example",
        "a.b.c.nowhere.acme.example",
        "alias.acme.example",
        "wide.acme.example",
    ],
)
async def test_the_zone_cut_is_found_from_the_name_upwards(name) -> None:
    async with asking(recursive=NameServer(RECORDS)) as resolver:
        found = await resolver.authorities(name)
    assert found.outcome is Outcome.FOUND
    assert found.zone == "acme.example."
    assert found.servers == (("ns1.acme.example.", SECOND), ("ns2.acme.example.", THIRD))


async def test_a_delegated_part_of_a_domain_has_authorities_of_its_own() -> None:
    delegated = f"""{RECORDS}
        _domainkey.acme.example. 60 NS ns.beta.example.
        _domainkey.acme.example. 60 SOA ns.beta.example. hostmaster.beta.example. 1 60 60 60 30
    """
    async with asking(recursive=NameServer(delegated)) as resolver:
        assert (await resolver.authorities("s1._domainkey.acme.example")).servers == (
            ("ns.beta.example.", "127.0.0.4"),
        )


async def test_a_broken_delegation_is_not_climbed_over() -> None:
    server = NameServer(RECORDS, faults={"s1._domainkey.acme.example.": "servfail"})
    async with asking(recursive=server) as resolver:
        found = await resolver.authorities("s1._domainkey.acme.example")
    assert (found.outcome, found.servers) == (Outcome.SERVFAIL, ())


async def test_at_most_eight_servers_with_two_addresses_each() -> None:
    records = "".join(f"big.example. 60 NS n{n}.example.\n" for n in range(12))
    records += "".join(f"n{n}.example. 60 A 127.0.{n}.{host}\n" for n in range(12) for host in range(1, 5))
    async with asking(recursive=NameServer(records)) as resolver:
        found = await resolver.authorities("big.example")
    assert len(found.servers) == 16
    assert len({name for name, _ in found.servers}) == 8


async def test_every_authority_answers_for_itself() -> None:
    old = RECORDS.replace("198.51.100.50", "198.51.100.77")
    servers = {"on_2": NameServer(RECORDS, ("acme.example",)), "on_3": NameServer(old, ("acme.example",))}
    async with asking(recursive=NameServer(RECORDS), **servers) as resolver:
        answers = await resolver.ask_authorities("mail.acme.example", "A")
    assert [(answer.server_name, answer.server, answer.values[0]) for answer in answers] == [
        ("ns1.acme.example.", SECOND, "198.51.100.50"),
        ("ns2.acme.example.", THIRD, "198.51.100.77"),
    ]
    assert not any(asked.flags & dns.flags.RD for server in servers.values() for asked in server.asked)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("silent", Outcome.TIMEOUT),
        ("lame", Outcome.BROKEN),
        ("servfail", Outcome.SERVFAIL),
        ("referral", Outcome.BROKEN),
    ],
)
async def test_an_authority_that_cannot_say_stays_visible_beside_one_that_can(fault, outcome) -> None:
    mute = NameServer(RECORDS, ("acme.example",), {"mail.acme.example.": fault})
    async with asking(
        recursive=NameServer(RECORDS), on_2=NameServer(RECORDS, ("acme.example",)), on_3=mute, timeout_seconds=1
    ) as resolver:
        answers = await resolver.ask_authorities("mail.acme.example", "A")
    assert [answer.outcome for answer in answers] == [Outcome.FOUND, outcome]


async def test_a_name_server_without_an_address_counts_as_silent() -> None:
    records = RECORDS.replace("ns2.acme.example. 300 A", "ns9.acme.example. 300 A")
    async with asking(recursive=NameServer(records), on_2=NameServer(records, ("acme.example",))) as resolver:
        answers = await resolver.ask_authorities("mail.acme.example", "A")
    assert [(answer.server_name, answer.outcome, answer.rcode) for answer in answers] == [
        ("ns1.acme.example.", Outcome.FOUND, "NOERROR"),
        ("ns2.acme.example.", Outcome.TIMEOUT, "NO-ADDRESS"),
    ]


async def test_an_alias_leads_to_the_authorities_of_its_target_once() -> None:
    ours = NameServer(RECORDS, ("acme.example",))
    theirs = NameServer(RECORDS, ("beta.example",))
    async with asking(recursive=NameServer(RECORDS), on_2=ours, on_3=ours, on_4=theirs) as resolver:
        answers = await resolver.ask_authorities("away.acme.example", "TXT")
    assert [(answer.server, answer.values, answer.cname) for answer in answers] == [
        ("127.0.0.4", ("p=abc",), ("key.beta.example.",))
    ]
    assert len(theirs.asked) == 1


async def test_a_circle_of_aliases_between_zones_ends() -> None:
    records = RECORDS.replace('key.beta.example. 300 TXT "p=abc"', "key.beta.example. 300 CNAME away.acme.example.")
    ours, theirs = NameServer(records, ("acme.example",)), NameServer(records, ("beta.example",))
    async with asking(recursive=NameServer(records), on_2=ours, on_3=ours, on_4=theirs) as resolver:
        answers = await resolver.ask_authorities("away.acme.example", "TXT")
    assert {answer.outcome for answer in answers} == {Outcome.BROKEN}


async def test_the_zone_of_a_name_whose_aliases_no_resolver_follows_is_found() -> None:
    away = dict.fromkeys(("loop1.acme.example.", "loop2.acme.example."), cast("Fault", "servfail_unless_cname"))
    ours = NameServer(RECORDS, ("acme.example",))
    async with asking(recursive=NameServer(RECORDS, faults=away), on_2=ours, on_3=ours) as resolver:
        answers = await resolver.ask_authorities("loop1.acme.example", "TXT")
    assert {(answer.outcome, answer.rcode) for answer in answers} == {(Outcome.BROKEN, ENDLESS)}
    assert answers[0].cname[:2] == ("loop2.acme.example.", "loop1.acme.example.")


async def test_unreachable_delegation_gives_one_answer_that_says_so() -> None:
    server = NameServer(RECORDS, faults={"mail.acme.example.": "servfail"})
    async with asking(recursive=server) as resolver:
        answers = await resolver.ask_authorities("mail.acme.example", "A")
    assert [(answer.outcome, answer.rcode) for answer in answers] == [(Outcome.SERVFAIL, "NO-AUTHORITIES")]


async def test_many_names_are_asked_at_once_and_answered_in_their_order() -> None:
    names = ["mail.acme.example", "nowhere.acme.example", "a..b", "alias.acme.example", "loop1.acme.example"]
    names += ["MAIL.acme.example.", "away.acme.example", "ns1.acme.example"]
    async with asking(recursive=NameServer(RECORDS, faults={"ns1.acme.example.": "servfail"})) as resolver:
        one_by_one = [await resolver.ask(name, "A") for name in names]
        together = await resolver.ask_all(names, "A")
    assert [said(answer) for answer in together] == [said(answer) for answer in one_by_one]
    assert [answer.outcome for answer in together[:5]] == [
        Outcome.FOUND, Outcome.ABSENT, Outcome.BROKEN, Outcome.FOUND, Outcome.BROKEN,
    ]  # fmt: skip


async def test_of_many_names_those_that_were_lost_are_asked_again() -> None:
    lost = {f"n{number}.acme.example.": "silent_once" for number in range(8)}
    server = NameServer(RECORDS, faults=lost)
    async with asking(recursive=server, tries=2, timeout_seconds=1) as resolver:
        answers = await resolver.ask_all([*lost, "mail.acme.example"], "A")
    assert [answer.outcome for answer in answers] == [Outcome.ABSENT] * 8 + [Outcome.FOUND]
    assert len(server.asked) == 17


def said(answer):
    return answer._replace(asked_at=None)
