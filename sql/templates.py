"""Templates: what a campaign's messages say. A name keeps its key when its text changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb


@dataclass(frozen=True, slots=True)
class Template:
    """One template; one that is retired begins no new campaign."""

    id: int
    name: str
    subject: str | None
    content: str
    variables: dict[str, Any]
    is_active: bool
    updated_at: datetime


async def put_template(
    conn: AsyncConnection, *, tenant_id: int, name: str, subject: str, content: str, variables: Mapping[str, Any]
) -> int:
    """Make a template, or give it another text; its key."""
    cursor = await conn.execute(
        """
        INSERT INTO templates (tenant_id, template_name, subject, content, variables) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id, template_name) DO UPDATE
          SET subject = EXCLUDED.subject, content = EXCLUDED.content, variables = EXCLUDED.variables, is_active = true,
              updated_at = now()
        RETURNING id
        """,
        [tenant_id, name, subject, content, Jsonb(dict(variables))],
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def list_templates(conn: AsyncConnection, tenant_id: int) -> list[Template]:
    """A tenant's templates by name."""
    cursor = conn.cursor(row_factory=class_row(Template))
    await cursor.execute(
        """
        SELECT id, template_name AS name, subject, content, coalesce(variables, '{}') AS variables,
               coalesce(is_active, true) AS is_active, updated_at
          FROM templates WHERE tenant_id = %s ORDER BY template_name
        """,
        [tenant_id],
    )
    return await cursor.fetchall()


async def retire_template(conn: AsyncConnection, tenant_id: int, name: str) -> bool:
    """Let no new campaign begin with a template; False when there is none in use by that name."""
    cursor = await conn.execute(
        """
        UPDATE templates SET is_active = false, updated_at = now()
         WHERE tenant_id = %s AND template_name = %s AND is_active
        """,
        [tenant_id, name],
    )
    return cursor.rowcount > 0
