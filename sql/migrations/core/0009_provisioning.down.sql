-- data-loss: runs, orders, proofs and the trail of every change
DROP TABLE infrastructure_events, delivery_proofs, provider_orders, provisioning_attempts, provisioning_steps, provisioning_runs;
