"""Leads: imported from CSV by the hundred thousand, what is rubbish named line by line, the suppressed left out."""

import asyncio
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import class_row

COLUMNS: Final = {"email": 255, "first_name": 100, "last_name": 100, "company": 255, "position": 100}
"""The columns we know and the characters each holds; any other goes into metadata."""
ADDRESS: Final = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])"
)
LOCAL_PART: Final = 64  # octets, RFC 5321 section 4.5.3.1.1
CHUNK_ROWS: Final = 20_000
AS_JSON: Final = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps makes one a call
ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Reject:
    """One line that was not taken, counted from 1 with the heading, and why."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file. `known` were in the list already, or twice in the file."""

    read: int
    added: int
    known: int
    suppressed: int
    rejects: list[Reject] = field(default_factory=list[Reject])

    def and_also(self, other: "Imported") -> "Imported":
        """Both together."""
        return Imported(
            self.read + other.read,
            self.added + other.added,
            self.known + other.known,
            self.suppressed + other.suppressed,
            [*self.rejects, *other.rejects],
        )

    @property
    def reasons(self) -> Mapping[str, int]:
        """How often each reason was given."""
        return Counter(reject.reason for reject in self.rejects)


@dataclass(frozen=True, slots=True)
class Lead:
    """One person to write to."""

    id: int
    email: str
    first_name: str | None
    last_name: str | None
    company: str | None
    position: str | None
    metadata: dict[str, Any]
    imported_at: datetime


Row = tuple[str | None, ...]
"""Address, first name, last name, company, position, and whatever else the file told, as JSON."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Where each column stands in a line: place (None: nowhere), name and longest text of those we know."""

    width: int
    known: tuple[tuple[int | None, str, int], ...]
    email: int
    extra: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows as the text that COPY reads, and the lines that are none."""

    text: bytes
    good: int
    rejects: list[Reject]


class BadHeading(Exception):
    """The first line of a file names no column `email`, or one column twice."""


async def import_leads(conn: AsyncConnection, *, tenant_id: int, lines: Iterable[str]) -> Imported:
    """Take in a CSV file: all good lines or, when the transaction fails, none. Raises BadHeading.

    Whoever is suppressed is not taken. A lead that is there already stays as it is. While the server takes in one
    chunk, a thread reads the next.
    """
    await conn.execute("SELECT set_config('statement_timeout', '10min', true)")  # a million lines take longer than 30 s
    # COPY into a table under row security is refused by the server: a temporary one stands between.
    await conn.execute("DROP TABLE IF EXISTS pg_temp.incoming_leads")
    await conn.execute(INCOMING)
    chunks = read_chunks(lines)
    total = Imported(0, 0, 0, 0)
    chunk = await asyncio.to_thread(next, chunks, None)
    while chunk is not None:
        chunk, taken = await asyncio.gather(asyncio.to_thread(next, chunks, None), _take_in(conn, tenant_id, chunk))
        total = total.and_also(taken)
    return total


async def _take_in(conn: AsyncConnection, tenant_id: int, chunk: "Chunk") -> Imported:
    await conn.execute("TRUNCATE pg_temp.incoming_leads")
    async with conn.cursor().copy("COPY incoming_leads FROM STDIN (NULL '')") as copy:
        await copy.write(chunk.text)
    suppressed = 0
    for statement in (DROP_ADDRESSES, DROP_DOMAINS):  # an OR of both would compare each pair
        suppressed += (await conn.execute(statement, [tenant_id])).rowcount
    added = (await conn.execute(TAKE_OVER, [tenant_id])).rowcount
    return Imported(
        chunk.good + len(chunk.rejects), added, chunk.good - suppressed - added, suppressed, list(chunk.rejects)
    )


async def find_lead(conn: AsyncConnection, *, tenant_id: int, email: str) -> Lead | None:
    """One lead by its address."""
    cursor = conn.cursor(row_factory=class_row(Lead))
    await cursor.execute(
        """
        SELECT id, email, first_name, last_name, company, position, coalesce(metadata, '{}') AS metadata, imported_at
          FROM leads WHERE tenant_id = %s AND email = lower(%s)
        """,
        [tenant_id, email.strip()],
    )
    return await cursor.fetchone()


async def lead_ids(conn: AsyncConnection, tenant_id: int, emails: Iterable[str]) -> dict[str, int]:
    """The keys of those of these people that are in the tenant's list, by address."""
    cursor = await conn.execute(
        "SELECT email, id FROM leads WHERE tenant_id = %s AND email = ANY(%s)", [tenant_id, list(emails)]
    )
    return {str(row[0]): int(row[1]) for row in await cursor.fetchall()}


def read_chunks(lines: Iterable[str]) -> Iterator["Chunk"]:
    """The file in chunks of rows as COPY reads them, the rejects beside them."""
    rows = read_rows(lines)
    while taken := list(islice(rows, CHUNK_ROWS)):
        good = [row for row in taken if not isinstance(row, Reject)]
        rejects = [row for row in taken if isinstance(row, Reject)]
        yield Chunk("".join(map(_copy_line, good)).encode(), len(good), rejects)


def read_rows(lines: Iterable[str]) -> Iterator["Row | Reject"]:
    """Every line after the heading as a row for the database, or as a reject."""
    numbered = enumerate(lines, start=1)
    _, first = next(numbered, (0, ""))
    heading = _heading(first)
    for number, line in numbered:
        if line.strip():
            row = _row(heading, line)
            yield Reject(number, line.strip()[:200], row) if isinstance(row, str) else row


def _heading(line: str) -> "Heading":
    names = [
        name.strip().lower().replace(" ", "_") for fields in csv.reader([line.lstrip("\ufeff")]) for name in fields
    ]
    if "email" not in names or len(set(names)) != len(names):
        raise BadHeading(f"the first line must name each column once, `email` among them; it is {line.strip()[:80]!r}")
    known = tuple((names.index(name) if name in names else None, name, longest) for name, longest in COLUMNS.items())
    return Heading(len(names), known[1:], names.index("email"), tuple(
        (place, name) for place, name in enumerate(names) if name not in COLUMNS))  # fmt: skip


def _row(heading: "Heading", line: str) -> "Row | str":
    """The row of a line, or the reason why it is none. One line is one row: no line break inside quotes."""
    fields = _fields(line)
    if isinstance(fields, str):
        return fields
    if len(fields) != heading.width:
        return "wrong number of columns"
    email = _address(fields[heading.email].strip())
    if email is None:
        return "no address"
    known: list[str | None] = []
    for place, name, longest in heading.known:
        text = "" if place is None else fields[place].strip()
        if len(text) > longest:
            return f"{name} too long"
        known.append(text or None)
    extra = {name: text for place, name in heading.extra if (text := fields[place].strip())}
    return (email, *known, AS_JSON(extra) if extra else "{}")


def _copy_line(row: "Row") -> str:
    """One line of COPY's text format; an empty field is NULL."""
    line = "\t".join([text or "" for text in row])
    if "\\" in line or line.count("\t") >= len(row) or "\n" in line or "\r" in line:
        line = "\t".join([(text or "").translate(ESCAPES) for text in row])
    return line + "\n"


def _fields(line: str) -> list[str] | str:
    if "\0" in line or not (line.isascii() or _is_text(line)):
        return "unreadable characters"
    text = line.rstrip("\r\n")
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error:
        return "broken quotes"


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:  # what a tolerant decoder leaves of bytes that are no text
        return False
    return True


def _address(text: str) -> str | None:
    """The address in lower case, its domain as A-labels; None when it is none."""
    address = text.lower()
    if not address.isascii():
        local, at, domain = address.rpartition("@")
        try:
            address = local + at + domain.encode("idna").decode()
        except UnicodeError:
            return None
    if len(address) > COLUMNS["email"] or address.find("@") > LOCAL_PART or ADDRESS.fullmatch(address) is None:
        return None
    return address


DROP_ADDRESSES: Final = """
    DELETE FROM incoming_leads i USING suppressions s
     WHERE s.tenant_id = %s AND (s.expires_at IS NULL OR s.expires_at > now())
       AND s.scope = 'address' AND s.value = i.email
"""
DROP_DOMAINS: Final = """
    DELETE FROM incoming_leads i USING suppressions s
     WHERE s.tenant_id = %s AND (s.expires_at IS NULL OR s.expires_at > now())
       AND s.scope = 'domain' AND s.value = split_part(i.email, '@', 2)
"""
INCOMING: Final = """
    CREATE TEMPORARY TABLE incoming_leads (email text, first_name text, last_name text, company text, position text,
                                           metadata jsonb) ON COMMIT DROP
"""
TAKE_OVER: Final = """
    INSERT INTO leads (tenant_id, email, first_name, last_name, company, position, metadata)
    SELECT %s, email, first_name, last_name, company, position, metadata FROM incoming_leads
    ON CONFLICT (tenant_id, email) DO NOTHING
"""
