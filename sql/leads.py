"""Leads: imported from CSV by the hundred thousand, what is rubbish named line by line, the suppressed left out."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

COLUMNS: Final = {"email": 255, "first_name": 100, "last_name": 100, "company": 255, "position": 100}
"""The columns we know and the characters each holds; any other goes into metadata."""
ADDRESS: Final = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])"
)
LOCAL_PART: Final = 64  # octets, RFC 5321 section 4.5.3.1.1


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


class BadHeading(Exception):
    """The first line of a file names no column `email`, or one column twice."""


async def import_leads(conn: AsyncConnection, *, tenant_id: int, lines: Iterable[str]) -> Imported:
    """Take in a CSV file: all good lines or, when the transaction fails, none. Raises BadHeading.

    Whoever is suppressed is not taken. A lead that is there already stays as it is.
    """
    await conn.execute("SELECT set_config('statement_timeout', '10min', true)")  # a million lines take longer than 30 s
    # COPY into a table under row security is refused by the server: a temporary one stands between.
    await conn.execute("DROP TABLE IF EXISTS pg_temp.incoming_leads")
    await conn.execute(
        """
        CREATE TEMPORARY TABLE incoming_leads (email text, first_name text, last_name text, company text, position text,
                                               metadata jsonb) ON COMMIT DROP
        """
    )
    rejects: list[Reject] = []
    good = 0
    async with conn.cursor().copy("COPY incoming_leads FROM STDIN") as copy:
        for row in read_rows(lines):
            if isinstance(row, Reject):
                rejects.append(row)
            else:
                good += 1
                await copy.write_row(row)
    suppressed = await _drop_suppressed(conn, tenant_id)
    added = await conn.execute(
        """
        INSERT INTO leads (tenant_id, email, first_name, last_name, company, position, metadata)
        SELECT %s, email, first_name, last_name, company, position, metadata FROM incoming_leads
        ON CONFLICT (tenant_id, email) DO NOTHING
        """,
        [tenant_id],
    )
    known = good - suppressed - added.rowcount
    return Imported(good + len(rejects), added.rowcount, known, suppressed, rejects)


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


def read_rows(lines: Iterable[str]) -> Iterator[tuple[object, ...] | Reject]:
    """Every line after the heading as a row for the database, or as a reject."""
    numbered = enumerate(lines, start=1)
    _, first = next(numbered, (0, ""))
    heading = _heading(first)
    for number, line in numbered:
        if line.strip():
            row = _row(heading, line)
            yield Reject(number, line.strip()[:200], row) if isinstance(row, str) else row


def _heading(line: str) -> list[str]:
    names = [
        name.strip().lower().replace(" ", "_") for fields in csv.reader([line.lstrip("\ufeff")]) for name in fields
    ]
    if "email" not in names or len(set(names)) != len(names):
        raise BadHeading(f"the first line must name each column once, `email` among them; it is {line.strip()[:80]!r}")
    return names


def _row(heading: list[str], line: str) -> tuple[object, ...] | str:
    """The row of a line, or the reason why it is none. One line is one row: no line break inside quotes."""
    fields = _fields(line)
    if isinstance(fields, str):
        return fields
    if len(fields) != len(heading):
        return "wrong number of columns"
    values = {name: text for name, text in zip(heading, map(str.strip, fields), strict=True) if text}
    email = _address(values.pop("email", ""))
    if email is None:
        return "no address"
    for name, longest in COLUMNS.items():
        if len(values.get(name, "")) > longest:
            return f"{name} too long"
    known = [values.pop(name, None) for name in ("first_name", "last_name", "company", "position")]
    return (email, *known, Jsonb(values))


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


async def _drop_suppressed(conn: AsyncConnection, tenant_id: int) -> int:
    cursor = await conn.execute(
        """
        DELETE FROM incoming_leads i USING suppressions s
         WHERE s.tenant_id = %s AND (s.expires_at IS NULL OR s.expires_at > now())
           AND (s.scope = 'address' AND s.value = i.email
             OR s.scope = 'domain' AND s.value = split_part(i.email, '@', 2))
        """,
        [tenant_id],
    )
    return cursor.rowcount
