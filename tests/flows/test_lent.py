"""How a domain's DMARC record begins, asked of a name server that does not always know."""

from typing import Any

import pytest

from flows.domains.lent import start_of
from providers.errors import Unavailable
from providers.resolver import Resolver
from sql.domains import Domain
from tests.support.nameserver import Fault, NameServer, serving

ABOVE = """
    . 60 SOA a.root.example. hostmaster.example. 1 60 60 60 60
    acme.example. 60 SOA ns.acme.example. hostmaster.acme.example. 1 60 60 60 60
    _dmarc.acme.example. 60 TXT "v=DMARC1; p=reject"
"""
OWN = '    _dmarc.news.acme.example. 60 TXT "v=DMARC1; p=none"\n'
ROW: dict[str, Any] = dict.fromkeys(Domain.__slots__) | {"domain_name": "news.acme.example", "dns_records": {}}


async def begins(records: str, **faults: Fault) -> str:
    async with serving({"127.0.0.1": NameServer(records, faults=faults)}) as port:
        return await start_of(Resolver(["127.0.0.1"], timeout_seconds=5, tries=1, port=port), Domain(**ROW))


async def test_it_begins_as_strict_as_the_record_above_until_there_is_one() -> None:
    assert (await begins(ABOVE)).startswith("v=DMARC1; p=reject")
    assert "p=reject" not in await begins(ABOVE + OWN)


@pytest.mark.parametrize("silent", ["_dmarc.news.acme.example.", "_dmarc.acme.example."])
async def test_while_nobody_can_say_nothing_is_decided(silent: str) -> None:
    with pytest.raises(Unavailable, match=silent.rstrip(".")):
        await begins(ABOVE + OWN if silent.startswith("_dmarc.news") else ABOVE, **{silent: "servfail"})


async def test_an_absence_is_told_by_an_authority_and_left_in_no_resolver() -> None:
    records = ABOVE + "acme.example. 60 NS ns.acme.example.\nns.acme.example. 60 A 127.0.0.2\n"
    resolver, authority = NameServer(records), NameServer(records, zones=("acme.example.",))
    async with serving({"127.0.0.1": resolver, "127.0.0.2": authority}) as port:
        asking = Resolver(["127.0.0.1"], timeout_seconds=5, tries=1, port=port)
        assert (await start_of(asking, Domain(**ROW))).startswith("v=DMARC1; p=reject")
    assert authority.asked_for("_dmarc.news.acme.example.") == [("TXT", "udp")]
    assert resolver.asked_for("_dmarc.news.acme.example.") == []
