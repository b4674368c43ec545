-- What a proof rests on beside the message: the DNS answers with server and time, the host's certificate, the folder,
-- and what was expected. With it a stranger can judge the proof again, offline.
-- Undo: the evidence goes, the verdicts stay. Locks: ACCESS EXCLUSIVE for a moment, no rewrite.
ALTER TABLE delivery_proofs ADD COLUMN evidence JSONB NOT NULL DEFAULT '{}';
