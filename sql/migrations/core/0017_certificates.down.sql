DROP INDEX idx_vps_instances_certificate;
ALTER TABLE vps_instances DROP COLUMN certificate_ends_at, DROP COLUMN certificate_due_at;
DROP TABLE acme_orders;
