"""A database's schema as sorted lines, so that two states can be compared: the order of columns does not count."""

from typing import Any

from psycopg import AsyncConnection

SNAPSHOT = """
    WITH ours AS (
      SELECT c.oid, c.relname, c.relkind, c.relacl, c.relrowsecurity, c.relforcerowsecurity, c.relowner, c.reloptions
        FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> ALL(%(ignored)s)
    )
    SELECT format('relation %%s kind %%s owner %%s rls %%s/%%s options %%s', relname, relkind, relowner::regrole,
                  relrowsecurity, relforcerowsecurity, reloptions)
      FROM ours WHERE relkind IN ('r', 'p', 'v', 'S')
    UNION ALL
    SELECT format('grant %%s to %%s: %%s', o.relname, a.grantee::regrole, a.privilege_type)
      FROM ours o CROSS JOIN LATERAL aclexplode(o.relacl) a WHERE a.grantee <> o.relowner AND a.grantee <> 0
    UNION ALL
    SELECT format('column grant %%s.%%s to %%s: %%s', o.relname, t.attname, a.grantee::regrole, a.privilege_type)
      FROM ours o JOIN pg_attribute t ON t.attrelid = o.oid CROSS JOIN LATERAL aclexplode(t.attacl) a
    UNION ALL
    SELECT format('column %%s.%%s %%s not null %%s identity %%s generated %%s default %%s', o.relname, t.attname,
                  format_type(t.atttypid, t.atttypmod), t.attnotnull, t.attidentity, t.attgenerated,
                  pg_get_expr(d.adbin, d.adrelid))
      FROM ours o JOIN pg_attribute t ON t.attrelid = o.oid AND t.attnum > 0 AND NOT t.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = o.oid AND d.adnum = t.attnum WHERE o.relkind IN ('r', 'p')
    UNION ALL
    SELECT format('constraint %%s on %%s: %%s', k.conname, o.relname, pg_get_constraintdef(k.oid))
      FROM ours o JOIN pg_constraint k ON k.conrelid = o.oid WHERE k.contype <> 'n'
    UNION ALL
    SELECT format('index %%s', pg_get_indexdef(o.oid)) FROM ours o WHERE o.relkind = 'i'
    UNION ALL
    SELECT format('policy %%s on %%s for %%s to %%s using %%s check %%s', p.polname, o.relname, p.polcmd,
                  array(SELECT r::regrole::text FROM unnest(p.polroles) r ORDER BY 1),
                  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
      FROM ours o JOIN pg_policy p ON p.polrelid = o.oid
    UNION ALL
    SELECT format('trigger %%s', pg_get_triggerdef(t.oid))
      FROM ours o JOIN pg_trigger t ON t.tgrelid = o.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT format('function %%s rights %%s', pg_get_functiondef(f.oid), f.proacl)
      FROM pg_proc f WHERE f.pronamespace = 'public'::regnamespace AND f.prokind = 'f'
"""


async def snapshot(conn: AsyncConnection[Any], *, ignored: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every table, column, constraint, index, policy, right, trigger and function of schema public, one a line."""
    cursor = await conn.execute(SNAPSHOT, {"ignored": list(ignored)})
    return tuple(sorted(str(row[0]) for row in await cursor.fetchall()))


def difference(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str, ...]:
    """What one side has and the other has not: `- ` was there before, `+ ` is there now."""
    gone = [f"- {line}" for line in before if line not in after]
    come = [f"+ {line}" for line in after if line not in before]
    return tuple(gone + come)
