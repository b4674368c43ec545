"""When, and in what order: one file per journey, in a room with its kin where it has any."""
