-- data-loss: every sealed secret
DROP TABLE platform_secrets, secrets;
