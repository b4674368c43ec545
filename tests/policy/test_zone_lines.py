import dns.rdatatype
import dns.rrset
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.zone_lines import panel_name, quoted, zone_lines

KEY = "v=DKIM1; k=rsa; p=" + "A" * 392


@pytest.mark.parametrize(
    ("name", "entered"),
    [
        ("acme.example", "@"),
        ("Acme.Example.", "@"),
        ("_dmarc.acme.example", "_dmarc"),
        ("pm202611r._domainkey.acme.example.", "pm202611r._domainkey"),
        ("notacme.example", "notacme.example."),
        ("1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa."),
    ],
)
def test_a_panel_that_appends_the_zone_is_given_the_rest(name: str, entered: str) -> None:
    assert panel_name(name, "acme.example") == entered


def test_a_long_text_becomes_strings_that_join_to_it() -> None:
    first, second = quoted(KEY).split('" "')
    assert len(first) == 256
    assert first[1:] + second[:-1] == KEY


@given(st.text(st.characters(codec="utf-8"), max_size=700))
def test_a_name_server_reads_every_text_as_it_was_meant(text: str) -> None:
    (line,) = zone_lines([("t.acme.example", "TXT", 300, [text])])
    name, ttl, _, kind, content = line.split(" ", 4)
    rrset = dns.rrset.from_text(name, int(ttl), "IN", kind, content)
    (record,) = rrset
    assert b"".join(record.strings) == text.encode()
    assert all(len(part) <= 255 for part in record.strings)


def test_the_lines_load_as_a_zone_under_any_origin() -> None:
    lines = zone_lines([
        ("acme.example", "TXT", 300, ["v=spf1 ip4:192.0.2.1 ~all"]),
        ("mail.acme.example", "A", 300, ["192.0.2.1"]),
        ("bounce.acme.example.", "MX", 300, ["10 mail.acme.example."]),
        ("k._domainkey.acme.example", "TXT", 300, [KEY]),
    ])  # fmt: skip
    text = "\n".join(["@ 300 IN SOA ns.acme.example. h.acme.example. 1 60 60 60 60", "@ 300 IN NS ns.acme.example.",
                      *lines])  # fmt: skip
    zone = dns.zone.from_text(text, "acme.example.", relativize=False)
    assert len(zone.nodes) == 4
    found = zone.find_rdataset("k._domainkey.acme.example.", dns.rdatatype.TXT)
    assert b"".join(found[0].strings).decode() == KEY
