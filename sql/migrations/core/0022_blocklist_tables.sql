-- What the owners' pages say of two lists that the shipped rows did not know: SURBL's newer bits, and the whole code table
-- and IPv6 test points of Abusix, which stays off until somebody who has a key switches it on. A row that an operator has
-- entered before stays as it is.
-- Undo: the added codes and test points go. Locks: none but those of the rows.
INSERT INTO blocklist_codes (list_name, pattern, word, effect, tier)
SELECT list_name, pattern, word, effect, tier FROM (VALUES
  ('surbl', '127.0.0.&4', 'disposable addresses', 'listed', 3), ('surbl', '127.0.0.&32', 'click tracker', 'listed', 2),
  ('abusix', '127.0.0.2', 'spam traps', 'listed', 2), ('abusix', '127.0.0.3', 'low reputation', 'listed', 2),
  ('abusix', '127.0.0.4', 'exploited', 'listed', 2), ('abusix', '127.0.0.200', 'entered by hand', 'listed', 2),
  ('abusix', '127.0.0.11', 'generic reverse name', 'policy', 2), ('abusix', '127.0.0.12', 'no reverse name', 'policy', 2)
  ) documented (list_name, pattern, word, effect, tier)
 WHERE list_name IN (SELECT name FROM blocklist_zones)
ON CONFLICT (list_name, pattern) DO NOTHING;

UPDATE blocklist_zones
   SET points = '{"ipv4": ["127.0.0.2", "127.0.0.1"], "ipv6": ["::ffff:127.0.0.2", "::ffff:127.0.0.1"]}',
       condition = 'needs a key', source_url = 'https://docs.abusix.com/docs/guardian-mail/production-zones', checked_on = DATE '2026-11-22'
 WHERE name = 'abusix';
