DROP TRIGGER suppressions_take_back ON suppressions;
DROP FUNCTION suppressions_take_back(), take_back_queued(bigint, text, text);
