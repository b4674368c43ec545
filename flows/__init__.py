"""When, and in what order: one file per journey."""
