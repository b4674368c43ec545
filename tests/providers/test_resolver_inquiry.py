"""An inquiry ends: however much a domain publishes, however its servers behave, it asks no more than it may."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.message
import dns.rrset
import pytest

from providers.resolver import Inquiry, Outcome, Resolver
from providers.resolver.exchange import POLITE
from tests.support.nameserver import Fault, NameServer, serving

RECORDS = """
    . 60 SOA a.root.example. hostmaster.example. 1 60 60 60 60
    acme.example. 300 SOA ns1.acme.example. hostmaster.acme.example. 1 60 60 60 30
    acme.example. 300 NS ns1.acme.example.
    acme.example. 300 NS ns2.acme.example.
    acme.example. 300 TXT "v=spf1 -all"
    ns1.acme.example. 300 A 127.0.0.2
    ns2.acme.example. 300 A 127.0.0.3
    mail.acme.example. 120 A 198.51.100.50
    away.acme.example. 90 CNAME key.beta.example.
    loop1.acme.example. 90 CNAME loop2.acme.example.
    loop2.acme.example. 90 CNAME loop1.acme.example.
    _domainkey.acme.example. 60 NS ns.beta.example.
    _domainkey.acme.example. 60 SOA ns.beta.example. hostmaster.beta.example. 1 60 60 60 30
    beta.example. 300 SOA ns.beta.example. hostmaster.beta.example. 1 60 60 60 30
    beta.example. 300 NS ns.beta.example.
    ns.beta.example. 300 A 127.0.0.4
    key.beta.example. 300 TXT "p=abc"
    s1._domainkey.acme.example. 300 TXT "p=delegated"
"""
ZONE = "acme.example"


@asynccontextmanager
async def asking(
    most: int = 40, *, seconds: float = 60, timeout_seconds: float = 5, tries: int = 2, **others: NameServer
) -> AsyncIterator[tuple[Inquiry, NameServer]]:
    recursive = others.pop("recursive", None) or NameServer(RECORDS)
    servers = {"127.0.0.1": recursive} | {f"127.0.0.{name[3:]}": server for name, server in others.items()}
    async with serving(servers) as port:
        resolver = Resolver(["127.0.0.1"], timeout_seconds=timeout_seconds, tries=tries, port=port)
        yield resolver.inquiry(most, seconds=seconds), recursive


async def test_nothing_is_asked_twice() -> None:
    async with asking() as (inquiry, server):
        answers = await asyncio.gather(*(inquiry.ask("mail.acme.example", "A") for _ in range(5)))
        again = await inquiry.ask("MAIL.acme.example.", "A")
    assert {answer.values for answer in answers} == {again.values} == {("198.51.100.50",)}
    assert len(server.asked) == inquiry.asked == 1


async def test_questions_alike_from_two_inquiries_travel_once() -> None:
    async with serving({"127.0.0.1": (server := NameServer(RECORDS))}) as port:
        resolver = Resolver(["127.0.0.1"], port=port)
        await asyncio.gather(*(resolver.inquiry(40).ask("mail.acme.example", "A") for _ in range(2)))
    assert len(server.asked) == 1


async def test_the_budget_is_never_exceeded_and_its_end_is_no_absence() -> None:
    async with asking(most=7) as (inquiry, server):
        answers = await asyncio.gather(*(inquiry.ask(f"n{n}.acme.example", "TXT") for n in range(30)))
    assert len(server.asked) == inquiry.asked == 7
    assert [answer.outcome for answer in answers].count(Outcome.BUDGET) == 23
    assert not Outcome.BUDGET.settled


async def test_what_was_learnt_together_is_not_asked_again_and_is_as_if_asked_alone() -> None:
    wanted = [("mail.acme.example", "A"), ("MAIL.acme.example.", "A"), ("a..b", "A"), ("acme.example", "TXT")]
    wanted += [("away.acme.example", "TXT"), ("ns1.acme.example", "A"), ("ns2.acme.example", "A")]
    faults: dict[str, Fault] = {"ns1.acme.example.": "servfail", "ns2.acme.example.": "silent_once"}
    async with asking(timeout_seconds=1, recursive=NameServer(RECORDS, faults=faults)) as (inquiry, server):
        await inquiry.learn_all(wanted)
        asked = len(server.asked)
        answers = [await inquiry.ask(*one) for one in wanted]
        assert len(server.asked) == asked
    assert asked == inquiry.asked == 6  # the lost one twice
    assert [answer.outcome for answer in answers] == [
        Outcome.FOUND, Outcome.FOUND, Outcome.BROKEN, Outcome.FOUND, Outcome.FOUND, Outcome.SERVFAIL, Outcome.FOUND,
    ]  # fmt: skip


async def test_what_is_learnt_together_keeps_to_the_budget() -> None:
    async with asking(most=3) as (inquiry, server):
        await inquiry.learn_all([(f"n{number}.acme.example", "A") for number in range(9)])
        answers = [await inquiry.ask(f"n{number}.acme.example", "A") for number in range(9)]
    assert len(server.asked) == inquiry.asked == 3
    assert [answer.outcome for answer in answers] == [Outcome.ABSENT] * 3 + [Outcome.BUDGET] * 6


async def test_who_stops_learning_leaves_nothing_that_others_wait_for() -> None:
    slow = Slow()
    async with asking(timeout_seconds=1, tries=1, recursive=slow) as (inquiry, _), asyncio.timeout(8):
        learning = asyncio.create_task(inquiry.learn_all([("acme.example", "A"), ("mail.acme.example", "A")]))
        while not slow.asked:  # noqa: ASYNC110  a moment
            await asyncio.sleep(0.01)
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)
        assert (await inquiry.ask("mail.acme.example", "A")).outcome is Outcome.TIMEOUT


async def test_who_gives_up_leaves_those_who_asked_the_same_their_answer() -> None:
    server = NameServer(RECORDS, faults={"mail.acme.example.": "silent_once"})
    async with asking(timeout_seconds=1, recursive=server) as (inquiry, _), asyncio.timeout(20):
        first, *others = (asyncio.create_task(inquiry.ask("mail.acme.example", "A")) for _ in range(4))
        while not server.asked:  # noqa: ASYNC110  a moment
            await asyncio.sleep(0.01)
        first.cancel()
        others.pop().cancel()  # one of those who wait gives up too
        answers = await asyncio.gather(*others)
    assert [answer.values for answer in answers] == [("198.51.100.50",)] * 2
    assert len(server.asked) == 2  # the lost one, which they joined, and its repetition


async def test_repeated_questions_count_too() -> None:
    server = NameServer(RECORDS, faults={"acme.example.": "silent"})
    async with asking(most=3, tries=5, timeout_seconds=0.1, recursive=server) as (inquiry, _):
        assert not (await inquiry.ask("acme.example", "TXT")).outcome.settled
    assert len(server.asked) == 3


async def test_the_budget_of_time_ends_it_as_well() -> None:
    async with asking(seconds=0) as (inquiry, server):
        assert (await inquiry.ask("acme.example", "TXT")).outcome is Outcome.BUDGET
    assert not server.asked


async def test_one_authority_is_asked_and_another_one_for_the_next_turn() -> None:
    servers = {"on_2": NameServer(RECORDS, (ZONE,)), "on_3": NameServer(RECORDS, (ZONE,))}
    async with asking(**servers) as (inquiry, _):
        answers = [await inquiry.ask_an_authority("mail.acme.example", "A", turn=turn) for turn in (0, 1)]
    assert [answer.server for answer in answers] == ["127.0.0.2", "127.0.0.3"]
    assert {answer.values for answer in answers} == {("198.51.100.50",)}


async def test_a_mute_authority_costs_the_next_one_a_question_and_is_not_waited_for_again() -> None:
    mute = NameServer(RECORDS, (ZONE,), {"mail.acme.example.": "silent", "acme.example.": "silent"})
    async with asking(timeout_seconds=0.2, on_2=mute, on_3=NameServer(RECORDS, (ZONE,))) as (inquiry, _):
        first = await inquiry.ask_an_authority("mail.acme.example", "A")
        second = await inquiry.ask_an_authority("acme.example", "TXT")
    assert [answer.outcome for answer in (first, second)] == [Outcome.FOUND] * 2
    assert len(mute.asked) == 2  # two tries at the first question, none at the second


async def test_a_delegated_part_is_found_by_the_pointer_of_the_zone_above() -> None:
    above, below = (
        NameServer(RECORDS, (ZONE,), {"s1._domainkey.acme.example.": "referral"}),
        NameServer(RECORDS, ("_domainkey.acme.example", "beta.example")),
    )
    async with asking(on_2=above, on_3=above, on_4=below) as (inquiry, _):
        await inquiry.ask_an_authority("acme.example", "TXT")
        answer = await inquiry.ask_an_authority("s1._domainkey.acme.example", "TXT")
    assert (answer.server, answer.values) == ("127.0.0.4", ("p=delegated",))


async def test_an_alias_leads_to_one_authority_of_its_target() -> None:
    ours, theirs = NameServer(RECORDS, (ZONE,)), NameServer(RECORDS, ("beta.example",))
    async with asking(on_2=ours, on_3=ours, on_4=theirs) as (inquiry, _):
        answer = await inquiry.ask_an_authority("away.acme.example", "TXT")
        loop = await inquiry.ask_an_authority("loop1.acme.example", "TXT")
    assert (answer.server, answer.values, answer.cname) == ("127.0.0.4", ("p=abc",), ("key.beta.example.",))
    assert loop.outcome is Outcome.BROKEN


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "x." * 140])
async def test_a_name_that_cannot_exist_is_broken(name) -> None:
    async with asking() as (inquiry, server):
        assert (await inquiry.ask_an_authority(name, "A")).outcome is Outcome.BROKEN
    assert not server.asked


async def test_a_zone_whose_delegation_is_broken_says_so() -> None:
    server = NameServer(RECORDS, faults={"acme.example.": "servfail", "mail.acme.example.": "servfail"})
    async with asking(recursive=server) as (inquiry, _):
        answer = await inquiry.ask_an_authority("mail.acme.example", "A")
    assert (answer.outcome, answer.rcode) == (Outcome.SERVFAIL, "NO-AUTHORITIES")


async def test_a_strangers_server_has_few_of_our_questions_at_a_time() -> None:
    slow = Slow()
    async with asking(most=200, tries=1, timeout_seconds=30, on_2=slow) as (inquiry, _), asyncio.timeout(25):
        looks = [asyncio.create_task(inquiry.ask(f"n{n}.acme.example", "A", at="127.0.0.2")) for n in range(60)]
        while len(slow.asked) < POLITE:  # noqa: ASYNC110  a moment
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert len(slow.asked) == POLITE
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)


class Slow(NameServer):
    """Notes what it is asked and never answers."""

    def reply(self, wire: bytes, transport: str) -> bytes | None:
        super().reply(wire, transport)
        return None


async def test_an_answer_from_another_address_is_not_heard() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        liar.bind(("127.0.0.9", 0))
        heard: list[bytes] = []

        class Told(NameServer):
            def reply(self, wire: bytes, transport: str) -> bytes | None:  # noqa: ARG002  the server's own signature
                heard.append(wire)
                return None

        async with asking(tries=1, timeout_seconds=0.5, recursive=Told()) as (inquiry, _):
            look = asyncio.create_task(inquiry.ask("acme.example", "TXT"))
            await asyncio.sleep(0.1)
            reply = dns.message.make_response(dns.message.from_wire(heard[0]), recursion_available=True)
            reply.answer.append(dns.rrset.from_text("acme.example.", 60, "IN", "TXT", '"forged"'))
            for port in range(32768, 61000, 997):  # wherever it listens, this sender is not its server
                liar.sendto(reply.to_wire(), ("127.0.0.1", port))
            answer = await look
    assert answer.outcome is Outcome.TIMEOUT


@pytest.mark.parametrize(
    ("content", "count", "longest"),
    [
        ('"' + '" "'.join("x" * 255 for _ in range(250)) + '"', 1, 250 * 255),  # 64 KB in one record
        (" ".join('"y"' for _ in range(200)), 1, 200),  # 200 strings
        (r'"\000\001\027[2J\255"', 1, 10),
    ],
)
async def test_huge_and_strange_texts_arrive_whole(content, count, longest) -> None:
    server = NameServer(f"big.example. 60 TXT {content}", faults={"big.example.": "truncated"})
    async with asking(recursive=server) as (inquiry, _):
        answer = await inquiry.ask("big.example", "TXT")
    assert answer.outcome is Outcome.FOUND
    assert (len(answer.values), len(answer.values[0])) == (count, longest)


@pytest.mark.parametrize(
    "name", ["x" * 63 + ".acme.example", "xn--bcher-kva.example", "bücher.example", "_a._b.acme.example."]
)
async def test_long_foreign_and_underscored_names_are_asked_as_they_are(name) -> None:
    async with asking() as (inquiry, server):
        assert (await inquiry.ask(name, "TXT")).outcome is Outcome.ABSENT
    assert server.asked[0].name.startswith(name.split(".")[0].replace("bücher", "xn--bcher-kva"))


@pytest.mark.parametrize("pointer", [b"\xc0\x0c\xc0\x0c", b"\xc0\xff", b"\xc0\x21", b"\x3f"])
async def test_answers_compressed_into_loops_are_not_answers(pointer) -> None:
    class Looping(NameServer):
        def reply(self, wire: bytes, transport: str) -> bytes | None:  # noqa: ARG002  the server's own signature
            question = wire[12 : wire.index(b"\0\0\x10\0\1", 12) + 5]
            record = pointer + b"\0\x10\0\1\0\0\0\x3c\0\2\1x"
            return wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + record

    async with asking(tries=1, timeout_seconds=0.3, recursive=Looping()) as (inquiry, _):
        assert (await inquiry.ask("acme.example", "TXT")).outcome is Outcome.TIMEOUT
