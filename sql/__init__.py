"""What is remembered: PostgreSQL and nothing else."""
