"""What a note is worth to a user: one file a scorer."""
