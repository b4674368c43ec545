-- data-loss: what an operator changed about the blocklists, and how they stand
DROP TABLE blocklist_self_tests, blocklist_codes, blocklist_zones;
