SELECT grant_table('tenant_users', 'write');
