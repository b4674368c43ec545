-- Blocklists as rows: where each answers, what its codes mean, which test points prove it alive, and how it stands.
-- A list is added, switched off or waived here, never in code. `<key>` in a zone is the place of a licence key.
-- Undo: what an operator changed, and how the lists stand, is gone. Locks: none, the tables are new.
CREATE TABLE blocklist_zones (
    name VARCHAR(50) PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9-]*$'), title TEXT NOT NULL,
    zone VARCHAR(255) NOT NULL, public_zone VARCHAR(255) NOT NULL DEFAULT '', key_name VARCHAR(50) NOT NULL DEFAULT '',
    tier INTEGER NOT NULL CHECK (tier BETWEEN 1 AND 3),          -- 1 receivers reject on it, 2 hurts placement, 3 a note
    points JSONB NOT NULL CHECK (points <> '{}'),                -- kind → [what must be listed, what must not] (RFC 5782 section 5)
    lookup_url TEXT NOT NULL DEFAULT '', condition TEXT NOT NULL DEFAULT '',   -- under which terms it may be asked
    source_url TEXT NOT NULL, checked_on DATE NOT NULL,          -- where this row was read, and when
    is_enabled BOOLEAN NOT NULL DEFAULT TRUE,
    gates BOOLEAN NOT NULL DEFAULT TRUE,                         -- FALSE: an operator waived it, nothing waits for its answer
    changed_by TEXT NOT NULL DEFAULT 'shipped', updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    CONSTRAINT blocklist_zones_key_has_a_place CHECK ((key_name <> '') = (zone LIKE '<key>.%')),
    CONSTRAINT blocklist_zones_mirror_needs_no_key CHECK (public_zone NOT LIKE '%<key>%' AND (public_zone = '' OR key_name <> ''))
);
CREATE TABLE blocklist_codes (
    list_name VARCHAR(50) NOT NULL REFERENCES blocklist_zones (name) ON DELETE CASCADE ON UPDATE CASCADE,
    pattern VARCHAR(40) NOT NULL CHECK (pattern ~ '^127\.\d{1,3}\.\d{1,3}\.(\d{1,3}(-\d{1,3})?|&\d{1,3})$'),   -- one, a range, one bit
    word VARCHAR(40) NOT NULL,
    effect VARCHAR(10) NOT NULL CHECK (effect IN ('listed','policy','age','refusal')),
    tier INTEGER CHECK (tier BETWEEN 1 AND 3),
    PRIMARY KEY (list_name, pattern),
    CONSTRAINT blocklist_codes_refusal_has_no_tier CHECK ((effect = 'refusal') = (tier IS NULL))
);
-- One row per list and kind of subject: an IPv6 test point that is missing says nothing of IPv4.
CREATE TABLE blocklist_self_tests (
    list_name VARCHAR(50) NOT NULL REFERENCES blocklist_zones (name) ON DELETE CASCADE ON UPDATE CASCADE,
    kind VARCHAR(10) NOT NULL CHECK (kind IN ('ipv4','ipv6','domain')),
    trust VARCHAR(10) NOT NULL CHECK (trust IN ('unproven','trusted','dead')), reason VARCHAR(50) NOT NULL,
    tested_at TIMESTAMP WITH TIME ZONE, tried_at TIMESTAMP WITH TIME ZONE NOT NULL,
    passes INTEGER NOT NULL DEFAULT 0, passed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (list_name, kind)
);
SELECT grant_table('blocklist_zones', 'read'), grant_table('blocklist_codes', 'read'), grant_table('blocklist_self_tests', 'read');

INSERT INTO blocklist_zones (name, title, zone, public_zone, key_name, tier, points, lookup_url, condition, source_url, checked_on, is_enabled)
SELECT name, title, zone, public_zone, key_name, tier, points::jsonb, lookup_url, condition, source_url, DATE '2026-11-22', name <> 'abusix'
  FROM (VALUES
  ('spamhaus-zen', 'Spamhaus ZEN', '<key>.zen.dq.spamhaus.net', 'zen.spamhaus.org', 'spamhaus_dqs', 1,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"], "ipv6": ["::ffff:127.0.0.2", "::ffff:127.0.0.1"]}', 'https://check.spamhaus.org/',
   'commercial use needs a DQS key', 'https://docs.spamhaus.com/datasets/docs/source/10-data-type-documentation/datasets/040-zones.html'),
  ('spamhaus-authbl', 'Spamhaus AuthBL', '<key>.authbl.dq.spamhaus.net', '', 'spamhaus_dqs', 1,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://check.spamhaus.org/',
   'needs a DQS key', 'https://docs.spamhaus.com/datasets/docs/source/10-data-type-documentation/datasets/040-zones.html'),
  ('spamhaus-dbl', 'Spamhaus DBL', '<key>.dbl.dq.spamhaus.net', 'dbl.spamhaus.org', 'spamhaus_dqs', 1,
   '{"domain": ["dbltest.com", "invalid"]}', 'https://check.spamhaus.org/',
   'commercial use needs a DQS key', 'https://docs.spamhaus.com/datasets/docs/source/10-data-type-documentation/datasets/040-zones.html'),
  ('spamhaus-zrd', 'Spamhaus ZRD', '<key>.zrd.dq.spamhaus.net', '', 'spamhaus_dqs', 3,
   '{"domain": ["test", "invalid"]}', 'https://check.spamhaus.org/',
   'needs a DQS key; the codes are hours since first seen', 'https://docs.spamhaus.com/datasets/docs/source/10-data-type-documentation/datasets/040-zones.html'),
  ('barracuda', 'Barracuda', 'b.barracudacentral.org', '', '', 2,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://www.barracudacentral.org/lookups',
   'the address of our resolver has to be registered', 'https://www.barracudacentral.org/rbl/how-to-use'),
  ('spamcop', 'SpamCop', 'bl.spamcop.net', '', '', 2,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://www.spamcop.net/bl.shtml',
   'ages out about a day after the last report', 'https://www.spamcop.net/fom-serve/cache/291.html'),
  ('psbl', 'PSBL', 'psbl.surriel.com', '', '', 2,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://psbl.org/remove', '', 'https://psbl.org/howto'),
  ('mailspike', 'Mailspike', 'bl.mailspike.net', '', '', 2,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://mailspike.io/ip_verify',
   'at most 100,000 questions a day', 'https://mailspike.org/usage.html'),
  ('uribl', 'URIBL', 'multi.uribl.com', '', '', 2,
   '{"domain": ["test.uribl.com", "invalid"]}', 'https://admin.uribl.com/',
   'low volume, or a feed', 'https://uribl.com/about.shtml'),
  ('surbl', 'SURBL', 'multi.surbl.org', '', '', 2,
   '{"domain": ["surbl-org-permanent-test-point.com", "invalid"]}', 'https://surbl.org/surbl-analysis',
   'low volume, or a feed', 'https://www.surbl.org/guidelines'),
  ('abusix', 'Abusix', '<key>.combined.mail.abusix.zone', '', 'abusix', 2,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://lookup.abusix.com/',
   'needs a key; codes to be entered from the vendor''s page first (DL-A2)', 'https://docs.abusix.com/'),
  ('uceprotect-1', 'UCEPROTECT level 1', 'dnsbl-1.uceprotect.net', '', '', 3,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://www.uceprotect.net/en/rblcheck.php', '', 'https://www.uceprotect.net/en/index.php?m=3&s=0'),
  ('uceprotect-2', 'UCEPROTECT level 2', 'dnsbl-2.uceprotect.net', '', '', 3,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://www.uceprotect.net/en/rblcheck.php', 'whole networks', 'https://www.uceprotect.net/en/index.php?m=3&s=0'),
  ('uceprotect-3', 'UCEPROTECT level 3', 'dnsbl-3.uceprotect.net', '', '', 3,
   '{"ipv4": ["127.0.0.2", "127.0.0.1"]}', 'https://www.uceprotect.net/en/rblcheck.php', 'whole providers', 'https://www.uceprotect.net/en/index.php?m=3&s=0')
  ) shipped (name, title, zone, public_zone, key_name, tier, points, lookup_url, condition, source_url);

INSERT INTO blocklist_codes (list_name, pattern, word, effect, tier) VALUES
  ('spamhaus-zen', '127.0.0.2', 'SBL', 'listed', 1), ('spamhaus-zen', '127.0.0.3', 'CSS', 'listed', 1),
  ('spamhaus-zen', '127.0.0.4-7', 'XBL', 'listed', 1), ('spamhaus-zen', '127.0.0.9', 'DROP', 'listed', 1),
  ('spamhaus-zen', '127.0.0.30', 'BCL', 'listed', 1), ('spamhaus-zen', '127.0.0.10-11', 'PBL', 'policy', 2),
  ('spamhaus-authbl', '127.0.0.20', 'AuthBL', 'listed', 1),
  ('spamhaus-dbl', '127.0.1.2', 'spam', 'listed', 1), ('spamhaus-dbl', '127.0.1.4', 'phish', 'listed', 1),
  ('spamhaus-dbl', '127.0.1.5', 'malware', 'listed', 1), ('spamhaus-dbl', '127.0.1.6', 'botnet', 'listed', 1),
  ('spamhaus-dbl', '127.0.1.102-106', 'abused-legit', 'listed', 2),
  ('spamhaus-dbl', '127.0.1.255', 'asked_an_address', 'refusal', NULL),
  ('spamhaus-zrd', '127.0.2.2-24', 'first seen today', 'age', 3),
  ('barracuda', '127.0.0.2', 'listed', 'listed', 2), ('spamcop', '127.0.0.2', 'listed', 'listed', 2),
  ('psbl', '127.0.0.2', 'listed', 'listed', 2),
  ('mailspike', '127.0.0.2', 'spam wave', 'listed', 2), ('mailspike', '127.0.0.10', 'L5', 'listed', 2),
  ('mailspike', '127.0.0.11', 'L4', 'listed', 2), ('mailspike', '127.0.0.12', 'L3', 'listed', 3),
  ('uribl', '127.0.0.&1', 'refused', 'refusal', NULL), ('uribl', '127.0.0.&2', 'black', 'listed', 2),
  ('uribl', '127.0.0.&4', 'grey', 'listed', 3), ('uribl', '127.0.0.&8', 'red', 'listed', 3),
  ('surbl', '127.0.0.&1', 'refused', 'refusal', NULL), ('surbl', '127.0.0.&8', 'phish', 'listed', 2),
  ('surbl', '127.0.0.&16', 'malware', 'listed', 2), ('surbl', '127.0.0.&64', 'abuse', 'listed', 2),
  ('surbl', '127.0.0.&128', 'cracked', 'listed', 2),
  ('uceprotect-1', '127.0.0.2', 'listed', 'listed', 3), ('uceprotect-2', '127.0.0.2', 'network', 'listed', 3),
  ('uceprotect-3', '127.0.0.2', 'provider', 'listed', 3);
