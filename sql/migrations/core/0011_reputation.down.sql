-- data-loss: blocklist and reputation history
DROP TABLE reputation_history, blacklist_checks;
