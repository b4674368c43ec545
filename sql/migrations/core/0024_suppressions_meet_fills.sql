-- A suppression meets the fill of a campaign whoever writes it: an INSERT of the back end's too takes the lock of the
-- tenant's fills and takes back what is queued, as sql/suppressions.py does.
-- Undo: only entries by sql/suppressions.py do; the rows stay. Locks: SHARE ROW EXCLUSIVE on suppressions, no scan.

-- Take back what waits to be sent to an address or a domain; how many. The lock is held to the commit, shared with other
-- suppressions: a fill that is about to commit is waited for and its messages are found here, a later one sees the entry.
CREATE FUNCTION take_back_queued(p_tenant bigint, p_scope text, p_value text) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  taken int;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('penguin-fills:' || p_tenant::text, 0));
  UPDATE emails e SET status = 'suppressed', updated_at = now() FROM leads l
   WHERE e.tenant_id = p_tenant AND e.status IN ('queued', 'deferred') AND l.tenant_id = p_tenant AND l.id = e.lead_id
     AND (p_scope = 'address' AND l.email = p_value OR p_scope = 'domain' AND split_part(l.email, '@', 2) = p_value);
  GET DIAGNOSTICS taken = ROW_COUNT;
  RETURN taken;
END $$;

-- Before the row is there: whoever waited for the lock with a row in hand would have others wait for the row.
CREATE FUNCTION suppressions_take_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM take_back_queued(NEW.tenant_id, NEW.scope, NEW.value);
  RETURN NEW;
END $$;
CREATE TRIGGER suppressions_take_back BEFORE INSERT OR UPDATE ON suppressions FOR EACH ROW
  WHEN (NEW.expires_at IS NULL OR NEW.expires_at > now()) EXECUTE FUNCTION suppressions_take_back();

REVOKE EXECUTE ON FUNCTION take_back_queued(bigint, text, text), suppressions_take_back() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_back_queued(bigint, text, text) TO penguin_app, penguin_orchestrator;
