"""Who a message may say it is from: one plain address of the login's own domain, and nothing read in two ways."""

from email import message_from_string, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.policy.authors import refusal


def passes(*fields: str) -> bool:
    return refusal(fields, "acme.example") is None


@pytest.mark.parametrize(
    "field",
    [
        "anna@acme.example",
        " anna@acme.example",
        "Anna <anna@acme.example>",
        "<ANNA@ACME.EXAMPLE>",
        "anna.b+tag@acme.example",
        "O'Neill J. Anna <anna@acme.example>",
        '"Anna, at @acme" <anna@acme.example>',
        r'"An \" na" <anna@acme.example>',
        "=?utf-8?q?Anna_=40_Acme?= <anna@acme.example>",
        "=?utf-8?b?w4RubmE=?= =?utf-8?q?_M=C3=BCller?= <anna@acme.example>",
        "Anna\r\n <anna@acme.example>",
        "Anna\n\t<anna@acme.example>",
        "anna@acme.example (Anna)",
        "bob@acme.example",
    ],
)
def test_one_address_of_ones_own_domain_passes(field: str) -> None:
    assert passes(field)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "Anna",
        "anna",
        "ceo@bank.example",
        "Anna <ceo@bank.example>",
        "anna@sub.acme.example",
        "anna@acme.example.bank.example",
        "anna@acmeXexample",
        "anna@acme.example.",
        "anna@[198.51.100.50]",
        "ceo@bank.example, anna@acme.example",
        "anna@acme.example, ceo@bank.example",
        "anna@acme.example, bob@acme.example",
        "anna@acme.example <ceo@bank.example>",
        "ceo@bank.example <anna@acme.example>",
        "<ceo@bank.example> <anna@acme.example>",
        "<anna@acme.example>, <ceo@bank.example>",
        "<@bank.example:anna@acme.example>",
        "(ceo@bank.example) anna@acme.example",
        "anna@acme.example (<ceo@bank.example>)",
        '"anna@acme.example" <ceo@bank.example>',
        '"anna"@acme.example',
        '"ceo@bank.example"@acme.example',
        "a group: anna@acme.example;",
        "undisclosed:;",
        "=?utf-8?q?anna=40acme.example?=",
        "=?utf-8?q?ceo=40bank.example=2C?= anna@acme.example",
        "<=?utf-8?q?anna?=@bank.example>",
        "anna@=?utf-8?q?acme.example?=",
        "Änna <anna@acme.example>",
        "anna@äcme.example",
        "anna@acme.example\0<ceo@bank.example>",
        "anna@acme.example\rceo@bank.example",
        "anna@acme.example\nFrom: ceo@bank.example",
        "x" * 1000 + " <anna@acme.example>",
    ],
)
def test_anything_else_is_refused_with_a_reason(field: str) -> None:
    assert "From" in (refusal([field], "acme.example") or "")


def test_an_author_is_named_once() -> None:
    assert not passes()
    assert not passes("anna@acme.example", "anna@acme.example")


PARTS = ["anna@acme.example", "ceo@bank.example", "<", ">", '"', "\\", "(", ")", ",", ":", ";", " ", "x"]


@given(st.lists(st.sampled_from(PARTS), max_size=8))
def test_whoever_reads_a_passed_author_finds_our_domain_and_no_other(parts: list[str]) -> None:
    field = "".join(parts)
    if passes(field):
        read = message_from_string(f"From: {field}\n\n", policy=policy.default)["From"].addresses
        assert [address.domain.lower() for address in read] == ["acme.example"]


def test_no_author_takes_long_to_read() -> None:
    """Time is not asserted: with a pattern that backtracks this ends by the test's own limit."""
    for hostile in ("a" * 990, "a " * 490, '"' * 990, '"\\' * 490, "a." * 490, "(" * 990, "<" * 990, "a@" * 490):
        assert not passes(hostile)
