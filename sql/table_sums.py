"""What a database holds, table by table: rows, and a digest of them that does not depend on their order.

Taken twice, of the source in the snapshot that is dumped and of the database a dump was restored into, it tells whether
the dump was whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection, sql

FIXED_TEXT: Final = """
    SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true),
           set_config('intervalstyle', 'iso_8601', true), set_config('bytea_output', 'hex', true),
           set_config('extra_float_digits', '1', true), set_config('statement_timeout', '0', true),
           set_config('idle_in_transaction_session_timeout', '0', true)
"""
"""The text of a value depends on these; the limits of time are those of our other work, not of a dump."""
TABLES: Final = """
    SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'S') AND c.relpersistence <> 't'
       AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2
"""
# md5 is the same on every version and machine, which the server's own hash functions do not promise. A sum, not an
# exclusive or: a row that stands twice must not cancel itself.
SUM_OF_ROWS: Final = """
    SELECT count(*), coalesce(sum(('x' || left(md5(ROW(r.*)::text), 16))::bit(64)::bigint::numeric), 0)::text FROM {} r
"""


@dataclass(frozen=True, slots=True)
class TableSum:
    """Rows of one table and the digest of their text."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A database in figures. Names carry their schema; of a sequence its last value counts."""

    tables: Mapping[str, TableSum]
    sequences: Mapping[str, int]
    policies: int

    @property
    def row_total(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables.values())

    def as_json(self) -> dict[str, Any]:
        """For the note inside a dump."""
        return {
            "tables": {name: [table.rows, table.digest] for name, table in self.tables.items()},
            "sequences": dict(self.sequences),
            "policies": self.policies,
        }


def picture_from(body: Mapping[str, Any]) -> Picture:
    """The picture that `as_json` wrote."""
    tables = {str(name): TableSum(int(rows), str(digest)) for name, (rows, digest) in body["tables"].items()}
    return Picture(tables, {str(name): int(last) for name, last in body["sequences"].items()}, int(body["policies"]))


async def picture(conn: AsyncConnection) -> Picture:
    """Everything the connection's role may read, in its own transaction's snapshot. Reads every row once."""
    await conn.execute(FIXED_TEXT)
    tables: dict[str, TableSum] = {}
    sequences: dict[str, int] = {}
    for schema, name, kind in await (await conn.execute(TABLES)).fetchall():
        identifier = sql.Identifier(schema, name)
        if kind == "S":
            sequences[f"{schema}.{name}"] = await _last_value(conn, identifier)
        else:
            row = await (await conn.execute(sql.SQL(SUM_OF_ROWS).format(identifier))).fetchone()
            tables[f"{schema}.{name}"] = TableSum(0, "0") if row is None else TableSum(int(row[0]), str(row[1]))
    policies = await (await conn.execute("SELECT count(*) FROM pg_policy")).fetchone()
    return Picture(tables, sequences, 0 if policies is None else int(policies[0]))


async def _last_value(conn: AsyncConnection, sequence: sql.Identifier) -> int:
    row = await (await conn.execute(sql.SQL("SELECT last_value FROM {}").format(sequence))).fetchone()
    return 0 if row is None else int(row[0])


def differences(expected: Picture, found: Picture) -> tuple[str, ...]:
    """What is not as it was, one sentence each; nothing when all is. A sequence may have gone on, never back."""
    return (
        *(f"{name}: the table is missing" for name in expected.tables if name not in found.tables),
        *(f"{name}: the table was not there" for name in found.tables if name not in expected.tables),
        *_of_rows(expected, found),
        *(
            f"{name}: the sequence stands at {found.sequences.get(name)}, it was at {last}"
            for name, last in expected.sequences.items()
            if found.sequences.get(name, -1) < last
        ),
        *([f"{found.policies} of {expected.policies} policies"] if found.policies != expected.policies else []),
    )


def _of_rows(expected: Picture, found: Picture) -> tuple[str, ...]:
    both = [(name, table, found.tables[name]) for name, table in expected.tables.items() if name in found.tables]
    return tuple(
        f"{name}: {now.rows} of {was.rows} rows" if now.rows != was.rows else f"{name}: its rows were changed"
        for name, was, now in both
        if now != was
    )
