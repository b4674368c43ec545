-- data-loss: codes of SURBL and Abusix, those among them that an operator had entered first
DELETE FROM blocklist_codes
 WHERE (list_name = 'surbl' AND pattern IN ('127.0.0.&4', '127.0.0.&32'))
    OR (list_name = 'abusix' AND pattern IN ('127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.200', '127.0.0.11', '127.0.0.12'));
UPDATE blocklist_zones
   SET points = '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', source_url = 'https://docs.abusix.com/',
       condition = 'needs a key; codes to be entered from the vendor''s page first (DL-A2)'
 WHERE name = 'abusix';
