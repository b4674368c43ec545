"""An SPF record as text and as terms (RFC 7208 sections 4.5, 4.6, 5 and 12); no look-ups here."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

from flows.policy.names import shortened

VERSION: Final = re.compile(r"v=spf1(?: |$)", re.IGNORECASE | re.ASCII)
DIRECTIVE: Final = re.compile(r"([-+?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)([:/].*)?", re.IGNORECASE | re.ASCII)
MODIFIER: Final = re.compile(r"([a-z][a-z0-9._-]*)=(.*)", re.IGNORECASE | re.ASCII)
MACRO: Final = r"%(?:[%_-]|\{[slodiphcrtv][0-9]*r?[-.+,/_=]*\})"
MACRO_STRING: Final = re.compile(rf"(?:{MACRO}|[!-$&-~])*", re.IGNORECASE | re.ASCII)
ENDS_IN_MACRO: Final = re.compile(rf"(?:{MACRO}|[!-$&-~])*{MACRO}", re.IGNORECASE | re.ASCII)
MACRO_BEGINS: Final = r"(?<!%)(?:%%)*%\{"  # of %%{ the two signs are one literal percent sign
TOP_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.IGNORECASE | re.ASCII)
EXPLANATION_LETTER: Final = re.compile(rf"{MACRO_BEGINS}[crt]", re.IGNORECASE)
NO_PARTS: Final = re.compile(rf"{MACRO_BEGINS}[a-z]0+[^0-9]", re.IGNORECASE)
CIDR_4: Final = re.compile(r"(.*?)(?:/(0|[1-9][0-9]?))?", re.ASCII)
CIDR_6: Final = re.compile(r"(.*?)(?:/(0|[1-9][0-9]{0,2}))?", re.ASCII)
DUAL_CIDR: Final = re.compile(r"(.*?)(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?", re.ASCII)
COSTS_A_LOOKUP: Final = frozenset({"include", "a", "mx", "ptr", "exists"})
NEEDS_DOMAIN: Final = frozenset({"include", "exists"})
BITS_4: Final = 32
BITS_6: Final = 128

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class SpfSyntax(ValueError):
    """The record, or what it expands to, is not what RFC 7208 allows: permerror."""


class Directive(NamedTuple):
    """One mechanism with its qualifier; `domain` is a domain-spec with its macros unexpanded."""

    text: str
    qualifier: str
    name: str
    domain: str | None = None
    network: Network | None = None
    prefix_4: int = BITS_4
    prefix_6: int = BITS_6


class SpfRecord(NamedTuple):
    """A record that keeps to the grammar; modifiers that we do not know are allowed and dropped."""

    text: str
    directives: tuple[Directive, ...]
    redirect: str | None = None
    explanation: str | None = None

    @property
    def final(self) -> Directive | None:
        """The `all` that ends evaluation, if there is one."""
        return next((term for term in self.directives if term.name == "all"), None)

    @property
    def lookups(self) -> int:
        """Look-up terms of this record alone, without what its includes bring along."""
        redirected = self.redirect is not None and self.final is None
        return sum(term.name in COSTS_A_LOOKUP for term in self.directives) + redirected


def spf_texts(values: Iterable[str]) -> tuple[str, ...]:
    """Those of the TXT values that are SPF version 1 records, broken ones included (section 4.5)."""
    return tuple(value for value in values if VERSION.match(value))


@lru_cache(maxsize=1024)  # one evaluation reads a record several times, and many domains include the same ones
def parse_spf(text: str) -> SpfRecord:
    """The terms of a record; SpfSyntax names the first that is wrong."""
    if not VERSION.match(text):
        raise SpfSyntax("the text does not begin with v=spf1")
    if not text.isascii():
        raise SpfSyntax("the record has a character that is not ASCII")
    directives: list[Directive] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, text[len("v=spf1") :].split(" ")):
        if match := DIRECTIVE.fullmatch(term):
            directives.append(directive(term, *match.groups()))
        else:
            add_modifier(modifiers, term)
    return SpfRecord(text, tuple(directives), modifiers.get("redirect"), modifiers.get("exp"))


def add_modifier(modifiers: dict[str, str], term: str) -> None:
    """Note a `name=value` term; redirect and exp may stand once only (section 6)."""
    match = MODIFIER.fullmatch(term)
    if not match:
        raise SpfSyntax(f"{shortened(term)} is no mechanism and no modifier")
    name, value = match[1].lower(), match[2]
    if name not in {"redirect", "exp"}:
        if not is_macro_string(value):
            raise SpfSyntax(f"{shortened(term)} has a broken macro")
        return
    if name in modifiers:
        raise SpfSyntax(f"{name}= stands twice")
    modifiers[name] = domain_spec(value, term)


@lru_cache(maxsize=4096)
def directive(term: str, qualifier: str, name: str, rest: str | None) -> Directive:
    """One mechanism; `rest` begins with the colon or slash after its name."""
    name, qualifier, rest = name.lower(), qualifier or "+", rest or ""
    if name == "all":
        if rest:
            raise SpfSyntax(f"{shortened(term)}: all takes no argument")
        return Directive(term, qualifier, name)
    if name in {"ip4", "ip6"}:
        return Directive(term, qualifier, name, network=network(term, name, rest))
    prefix_4, prefix_6 = BITS_4, BITS_6
    if name in {"a", "mx"}:
        rest, prefix_4, prefix_6 = without_prefixes(term, rest)
    if not rest and name not in NEEDS_DOMAIN:
        return Directive(term, qualifier, name, None, None, prefix_4, prefix_6)
    if not rest.startswith(":"):
        raise SpfSyntax(f"{shortened(term)} has no domain where one must stand")
    return Directive(term, qualifier, name, domain_spec(rest[1:], term), None, prefix_4, prefix_6)


def without_prefixes(term: str, rest: str) -> tuple[str, int, int]:
    """Split `:domain/24//64` into the part before the slashes and both prefix lengths."""
    match = DUAL_CIDR.fullmatch(rest)
    if not match:
        raise SpfSyntax(f"{shortened(term)} has a prefix length that is no number")
    prefix_4, prefix_6 = int(match[2] or BITS_4), int(match[3] or BITS_6)
    if prefix_4 > BITS_4 or prefix_6 > BITS_6:
        raise SpfSyntax(f"{shortened(term)} has a prefix length beyond the address")
    return match[1], prefix_4, prefix_6


def network(term: str, name: str, rest: str) -> Network:
    """The addresses of an ip4 or ip6 mechanism."""
    match = (CIDR_4 if name == "ip4" else CIDR_6).fullmatch(rest.removeprefix(":"))
    if not rest.startswith(":") or not match or "%" in rest:
        raise SpfSyntax(f"{shortened(term)} has no address where one must stand")
    try:
        if name == "ip4":
            return IPv4Network((match[1], int(match[2] or BITS_4)), strict=False)
        return IPv6Network((match[1], int(match[2] or BITS_6)), strict=False)
    except ValueError:
        raise SpfSyntax(f"{shortened(term)} has no valid address or prefix length") from None


def domain_spec(text: str, term: str) -> str:
    """Checked domain-spec (section 7.1): a macro string that ends in a top label or a macro."""
    if not is_macro_string(text) or EXPLANATION_LETTER.search(text):
        raise SpfSyntax(f"{shortened(term)} has a broken macro or character")
    if not ends_in_domain(text):
        raise SpfSyntax(f"{shortened(term)} does not end in a domain name")
    return text


def ends_in_domain(text: str) -> bool:
    """Whether the text ends in a macro or in a dot and a top label, which is not digits alone."""
    _, dot, label = text.removesuffix(".").rpartition(".")
    is_top_label = bool(dot) and TOP_LABEL.fullmatch(label) is not None and not label.isdigit()
    return is_top_label or ENDS_IN_MACRO.fullmatch(text) is not None


def is_macro_string(text: str) -> bool:
    """Whether every percent sign begins a macro, and no macro asks for zero parts."""
    return MACRO_STRING.fullmatch(text) is not None and not NO_PARTS.search(text)
