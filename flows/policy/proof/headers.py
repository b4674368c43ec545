"""What a receiver wrote into a message that it accepted: Authentication-Results (RFC 8601) and its own Received.

Everything below the receiver's Received came with the message and may be forged.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import getaddresses
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from typing import Final

from flows.policy.names import same_form

HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
FIELD: Final = re.compile(r"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
# Outside comments: a quoted string, a separator, or a word. A lone quote is one that never closes.
WORD: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[;=]|[^\s";=]+|"', re.DOTALL)
QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
CLIENT: Final = re.compile(r"\bfrom\s+(\S+)\s+\(([^()\[\]]*)\[(?:IPv6:)?([0-9A-Fa-f:.]+)\]", re.IGNORECASE)
TLS: Final = re.compile(r"\bTLSv?1[._]([0-3])\b", re.IGNORECASE)
CIPHER: Final = re.compile(r"\bcipher[ =]+([A-Z0-9_-]+)", re.IGNORECASE)
LOCAL_DELIVERY: Final = "LMTP"


@dataclass(frozen=True, slots=True)
class MethodResult:
    """One method's result; properties carry their type, as in `header.d` or `smtp.mailfrom`."""

    method: str
    result: str
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Hop:
    """The receiver's account of the connection that the message came over."""

    by: str
    helo: str
    client_ip: IPv4Address | IPv6Address
    protocol: str
    tls_version: tuple[int, int] | None
    cipher: str


def header_fields(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Header fields from the top, names in lower case, values unfolded."""
    head = HEAD_END.split(raw, maxsplit=1)[0].decode("utf-8", "replace")
    fields: list[str] = []
    for line in head.replace("\r\n", "\n").split("\n"):
        if line[:1] in {" ", "\t"} and fields:
            fields[-1] += line
        else:
            fields.append(line)
    matches = (FIELD.fullmatch(field) for field in fields)
    return tuple((match[1].lower(), match[2].strip()) for match in matches if match)


def author_domains(raw: bytes) -> tuple[str, ...]:
    """The domain of every author address; a message that can be judged has exactly one."""
    values = [value for name, value in header_fields(raw) if name == "from"]
    return tuple(same_form(address.rpartition("@")[2]) for _, address in getaddresses(values) if "@" in address)


def authentication_results(raw: bytes, authserv_id: str) -> tuple[MethodResult, ...]:
    """Results that the receiver of exactly this id wrote; any other header of that name is ignored.

    A receiver may write several headers above its own Received: those all count. Where none is, only the topmost one
    before the next Received does, for whatever follows that came with the message.
    """
    fields = header_fields(raw)
    hops = [at for at, (name, value) in enumerate(fields) if name == "received" and not is_local_delivery(value)]
    received, sent = (*hops, len(fields), len(fields))[:2]
    above = written_by(authserv_id, fields[:received])
    return tuple(
        result for results in above or written_by(authserv_id, fields[received:sent])[:1] for result in results
    )


def written_by(authserv_id: str, fields: Sequence[tuple[str, str]]) -> list[tuple[MethodResult, ...]]:
    """The results of each Authentication-Results field that bears the id."""
    texts = (value for name, value in fields if name == "authentication-results")
    return [results for value in texts if (results := results_of(value, authserv_id)) is not None]


def results_of(value: str, authserv_id: str) -> tuple[MethodResult, ...] | None:
    """The results in one field; None when it bears another id or cannot be read at all."""
    try:
        claim, *statements = sections(value)
    except ValueError:
        return None
    if not claim or same_form(claim[0]) != same_form(authserv_id):
        return None
    return tuple(result for words in statements if (result := method_result(words)) is not None)


def sections(value: str) -> list[list[str]]:
    """The words between semicolons, quotes taken off; ValueError when a quote or comment is open."""
    found: list[list[str]] = [[]]
    for word in WORD.findall(without_comments(value)):
        if word == ";":
            found.append([])
        elif word == '"':
            raise ValueError("a quoted string has no end")
        else:
            found[-1].append(QUOTED_PAIR.sub(r"\1", word[1:-1]) if word[0] == '"' else word)
    return found


def without_comments(value: str) -> str:
    """The text with each comment, nested ones too, made one space (RFC 5322 section 3.2.2)."""
    kept: list[str] = []
    depth, quoted, escaped = 0, False, False
    for sign in value:
        if escaped:
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == '"' and not depth:
            quoted = not quoted
        elif sign == "(" and not quoted:
            depth += 1
        elif sign == ")" and not quoted:
            depth -= 1
            if depth < 0:
                break
            kept.append(" ")
            continue
        if not depth:
            kept.append(sign)
    if depth or quoted:
        raise ValueError("a comment or a quoted string has no beginning or no end")
    return "".join(kept)


def method_result(words: Sequence[str]) -> MethodResult | None:
    """`method = result` and its `ptype.property = value` pairs; None for "none" and for what has no such shape."""
    pairs = list(equations(words))
    if not pairs or not pairs[0][0] or "." in pairs[0][0]:
        return None
    method = pairs[0][0].lower().partition("/")[0]
    properties: dict[str, str] = {}
    for name, value in pairs[1:]:
        properties.setdefault(name.lower(), value)
    return MethodResult(method, pairs[0][1].lower(), properties)


def equations(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Neighbours of each equals sign; words that stand alone say nothing."""
    for at, word in enumerate(words):
        if word == "=" and 0 < at < len(words) - 1:
            yield words[at - 1], words[at + 1]


def received_hop(raw: bytes, by: str) -> Hop | None:
    """The topmost connection that a server of this name says it took from outside; None when there is none."""
    for name, value in header_fields(raw):
        if name != "received":
            continue
        if same_form(clause(value, "by")) == same_form(by) and not is_local_delivery(value):
            return hop(value)
        if not is_local_delivery(value):
            return None  # another server stands in front: what lies below is no longer the receiver's word
    return None


def hop(value: str) -> Hop | None:
    """One Received field as Postfix, Exim and Gmail write it; None when it names no client address."""
    client = CLIENT.search(value)
    if client is None:
        return None
    try:
        address = ip_address(client[3])
    except ValueError:
        return None
    tls, cipher = TLS.search(value), CIPHER.search(value)
    return Hop(
        same_form(clause(value, "by")),
        same_form(client[1]),
        address,
        clause(value, "with").upper(),
        (1, int(tls[1])) if tls else None,
        cipher[1] if cipher else "",
    )


def is_local_delivery(value: str) -> bool:
    """Whether the field was written when the receiver handed the message to its own mailbox store."""
    return clause(value, "with").upper() == LOCAL_DELIVERY


def clause(value: str, word: str) -> str:
    """What follows a word such as "by" outside comments; empty when it does not stand there."""
    try:
        words = without_comments(value).split()
    except ValueError:
        return ""
    return next((after for before, after in pairwise(words) if before.lower() == word), "")
