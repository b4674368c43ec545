"""Questions to blocklists on a loopback name server: the name that is asked, what comes back, and what never leaves."""

import asyncio

from pydantic import SecretStr

from providers.blocklists import Blocklists, ListZone
from providers.resolver import Resolver
from tests.support.nameserver import Fault, NameServer, serving

KEY = "canarykey26charactersxxxxx"
LICENSED = ListZone("<key>.zen.dq.lists.example", "spamhaus_dqs", "zen.lists.example")
PLAIN = ListZone("bl.lists.example")
RECORDS = f"""
lists.example. 60 SOA ns.lists.example. host.lists.example. 1 60 60 60 30
9.2.0.192.bl.lists.example. 60 A 127.0.0.2
9.2.0.192.bl.lists.example. 60 A 127.0.0.10
9.2.0.192.bl.lists.example. 60 TXT "see https://lists.example/9"
9.2.0.192.{KEY}.zen.dq.lists.example. 60 A 127.0.0.4
9.2.0.192.{KEY}.zen.dq.lists.example. 60 TXT "you asked {KEY}.zen.dq.lists.example"
9.2.0.192.zen.lists.example. 60 A 127.255.255.254
"""


def lists(port: int, *, key: str = KEY, public: bool = False) -> Blocklists:
    resolver = Resolver(["127.0.0.1"], port=port, timeout_seconds=0.2, tries=1)
    return Blocklists(resolver, keys={"spamhaus_dqs": SecretStr(key)}, public_mirrors_allowed=public)


async def test_a_listing_comes_with_all_its_codes_and_its_reason() -> None:
    async with serving({"127.0.0.1": NameServer(RECORDS)}) as port:
        heard = await lists(port).ask(PLAIN, "9.2.0.192")
    assert (heard.outcome, heard.codes) == ("found", ("127.0.0.10", "127.0.0.2"))
    assert heard.texts == ("see https://lists.example/9",)
    assert (heard.question, heard.server, heard.ttl_seconds) == ("9.2.0.192.bl.lists.example", "127.0.0.1", 60)


async def test_what_is_not_listed_costs_one_question() -> None:
    server = NameServer(RECORDS)
    async with serving({"127.0.0.1": server}) as port:
        heard = await lists(port).ask(PLAIN, "8.2.0.192")
    assert (heard.outcome, heard.codes, heard.ttl_seconds) == ("absent", (), 30)
    assert [(asked.name, asked.rtype) for asked in server.asked] == [("8.2.0.192.bl.lists.example.", "A")]


async def test_the_key_is_in_the_question_and_nowhere_else() -> None:
    server = NameServer(RECORDS)
    async with serving({"127.0.0.1": server}) as port:
        licensed = lists(port)
        heard = await licensed.ask(LICENSED, "9.2.0.192")
    assert server.asked_for(f"9.2.0.192.{KEY}.zen.dq.lists.example.")
    assert heard.codes == ("127.0.0.4",)
    assert KEY not in f"{heard!r} {licensed!r} {heard.texts}"
    assert heard.texts == ("you asked <key>.zen.dq.lists.example",)


async def test_without_a_key_nothing_is_asked() -> None:
    server = NameServer(RECORDS)
    async with serving({"127.0.0.1": server}) as port:
        heard = await lists(port, key="").ask(LICENSED, "9.2.0.192")
    assert (heard.outcome, server.asked) == ("unlicensed", [])
    assert heard.question == "9.2.0.192.<key>.zen.dq.lists.example"


async def test_a_public_mirror_is_asked_only_where_it_is_permitted() -> None:
    server = NameServer(RECORDS)
    async with serving({"127.0.0.1": server}) as port:
        heard = await lists(port, key="", public=True).ask(LICENSED, "9.2.0.192")
        keyed = await lists(port, public=True).ask(LICENSED, "9.2.0.192")
        none = await lists(port, key="", public=True).ask(ListZone("<key>.auth.lists.example", "spamhaus_dqs"), "x")
    assert (heard.codes, heard.question) == (("127.255.255.254",), "9.2.0.192.zen.lists.example")
    assert (keyed.codes, none.outcome) == (("127.0.0.4",), "unlicensed")


async def test_a_server_that_fails_is_no_answer() -> None:
    name = "9.2.0.192.bl.lists.example."
    faults: dict[str, Fault] = {"servfail": "servfail", "refused": "refused", "timeout": "silent"}
    for outcome, fault in faults.items():
        async with serving({"127.0.0.1": NameServer(RECORDS, faults={name: fault})}) as port:
            assert (await lists(port).ask(PLAIN, "9.2.0.192")).outcome == outcome


async def test_a_list_that_is_silent_about_the_reason_still_lists() -> None:
    async with serving({"127.0.0.1": NameServer("7.2.0.192.bl.lists.example. 60 A 127.0.0.2")}) as port:
        heard = await lists(port).ask(PLAIN, "7.2.0.192")
    assert (heard.codes, heard.texts) == (("127.0.0.2",), ())


async def test_a_label_that_is_no_name_is_broken_and_not_clean() -> None:
    async with serving({"127.0.0.1": NameServer(RECORDS)}) as port:
        heard = await lists(port).ask(PLAIN, "x" * 64)
    assert heard.outcome == "broken"


async def test_all_lists_are_asked_for_a_name_at_once_and_each_speaks_for_itself() -> None:
    server = NameServer(RECORDS, faults={"9.2.0.192.mute.lists.example.": "servfail"})
    at = (ListZone("none.lists.example"), PLAIN, LICENSED, ListZone("mute.lists.example"), PLAIN)
    async with serving({"127.0.0.1": server}) as port:
        together = await lists(port, key="").ask_all(at, "9.2.0.192")
        alone = [await lists(port, key="").ask(one, "9.2.0.192") for one in at]
    assert [one.outcome for one in together] == ["absent", "found", "unlicensed", "servfail", "found"]
    assert [(one.codes, one.texts, one.question) for one in together] == [
        (one.codes, one.texts, one.question) for one in alone
    ]


async def test_a_list_has_few_questions_of_ours_at_a_time() -> None:
    class Slow(NameServer):
        def reply(self, wire: bytes, transport: str) -> bytes | None:
            super().reply(wire, transport)
            return None

    server = Slow(RECORDS)
    async with serving({"127.0.0.1": server}) as port:
        resolver = Resolver(["127.0.0.1"], port=port, timeout_seconds=5, tries=1)
        asked = Blocklists(resolver, keys={}, public_mirrors_allowed=False, polite=3)
        looks = [asyncio.create_task(asked.ask(PLAIN, f"{number}.2.0.192")) for number in range(20)]
        await asyncio.sleep(0.5)
        assert len(server.asked) == 3
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
