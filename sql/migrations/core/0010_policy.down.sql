-- data-loss: platform settings and presets
DROP TABLE policy_presets, system_config;
