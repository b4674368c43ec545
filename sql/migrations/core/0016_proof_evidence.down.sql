ALTER TABLE delivery_proofs DROP COLUMN evidence;
