"""Warm-up plans of mailboxes and addresses."""

from psycopg import AsyncConnection


async def plan_mailbox(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    email_account_id: int,
    policy_preset_id: int,
    start_volume: int,
    target_volume: int,
    total_days: int,
) -> bool:
    """Write a mailbox's ramp; False when it has a live one."""
    cursor = await conn.execute(
        """
        INSERT INTO warmup_schedules
               (tenant_id, email_account_id, policy_preset_id, start_volume, target_volume, total_days)
        VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
        """,
        [tenant_id, email_account_id, policy_preset_id, start_volume, target_volume, total_days],
    )
    return cursor.rowcount == 1


async def plan_address(
    conn: AsyncConnection,
    *,
    tenant_id: int,
    smtp_ip_address_id: int,
    policy_preset_id: int,
    start_volume: int,
    target_volume: int,
    total_days: int,
) -> bool:
    """Write an address's ramp; False when it has a live one."""
    cursor = await conn.execute(
        """
        INSERT INTO warmup_schedules
               (tenant_id, smtp_ip_address_id, policy_preset_id, start_volume, target_volume, total_days)
        VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
        """,
        [tenant_id, smtp_ip_address_id, policy_preset_id, start_volume, target_volume, total_days],
    )
    return cursor.rowcount == 1
