-- Who is a member decides whom a tenant may read (user_membership), so a tenant that could write memberships could read
-- anybody. They are written by the orchestrator alone, which also keeps every tenant's last owner (sql/users.py).
-- Undo: the application may write memberships again. Locks: none but those of the catalog.
SELECT grant_table('tenant_users', 'read');
