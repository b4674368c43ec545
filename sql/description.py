"""What the catalog tells of a database, for people: tables and keys, state words, how far the back end reaches."""

from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import AsyncConnection

from sql.session import CONNECT_SECONDS, our_errors

KEYS: Final = """
    SELECT DISTINCT parent.relname, child.relname,
           (SELECT string_agg(a.attname, ', ' ORDER BY p.place)
              FROM unnest(k.conkey) WITH ORDINALITY p (number, place)
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.number
             WHERE a.attname <> 'tenant_id' OR cardinality(k.conkey) = 1)
      FROM pg_constraint k
      JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
     WHERE k.contype = 'f' AND child.relnamespace = 'public'::regnamespace ORDER BY 1, 2, 3
"""
TABLES: Final = """
    SELECT c.relname,
           CASE WHEN t.atttypid = 'bigint'::regtype THEN 'key' WHEN t.atttypid = 'uuid'::regtype THEN 'uuid' END,
           CASE WHEN has_table_privilege('penguin_app', c.oid, 'INSERT') THEN 'writes'
                WHEN has_table_privilege('penguin_app', c.oid, 'SELECT') THEN 'reads' ELSE '' END
      FROM pg_class c
      LEFT JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
"""
WORDS: Final = """
    SELECT c.relname, a.attname,
           ARRAY(SELECT m[1] FROM regexp_matches(pg_get_constraintdef(k.oid), '''([a-z_0-9-]+)''', 'g') m)
      FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
      JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
     WHERE k.contype = 'c' AND c.relnamespace = 'public'::regnamespace AND cardinality(k.conkey) = 1
       AND pg_get_constraintdef(k.oid) LIKE '% = ANY %' AND pg_get_constraintdef(k.oid) NOT LIKE '% OR %'
       AND a.attname IN ('status', 'state', 'verification_status', 'warmup_status', 'warmup_state')
     ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Key:
    """A row of `child` names a row of `parent` by `column`."""

    parent: str
    child: str
    column: str


@dataclass(frozen=True, slots=True)
class Table:
    """`tenant`: how a row names its tenant (key, uuid, or None: nobody's). `back_end`: reads, writes, or nothing."""

    name: str
    tenant: str | None
    back_end: str


@dataclass(frozen=True, slots=True)
class Words:
    """The state words that a column may hold."""

    table: str
    column: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """One database, or several."""

    tables: list[Table]
    words: list[Words]
    keys: list[Key]

    def and_also(self, other: "Described") -> "Described":
        """Both together; the ledger of migrations stands in each."""
        known = {table.name for table in self.tables}
        return Described(
            sorted([*self.tables, *(one for one in other.tables if one.name not in known)], key=lambda one: one.name),
            [*self.words, *other.words],
            [*self.keys, *other.keys],
        )


async def described(dsn: str) -> Described:
    """Everything, in the order of names."""
    with our_errors():
        async with await AsyncConnection.connect(dsn, connect_timeout=CONNECT_SECONDS) as conn:
            tables = [Table(row[0], row[1], row[2]) for row in await _rows(conn, TABLES)]
            words = [Words(row[0], row[1], tuple(row[2])) for row in await _rows(conn, WORDS)]
            keys = [Key(row[0], row[1], row[2]) for row in await _rows(conn, KEYS)]
    return Described(tables, words, keys)


async def _rows(conn: AsyncConnection, statement: LiteralString) -> list[tuple[Any, ...]]:
    return await (await conn.execute(statement)).fetchall()
