-- data-loss: the record of backups; the stored dumps stay
DROP TABLE backups;
