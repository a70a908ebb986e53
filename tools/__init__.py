"""What a command does beyond stages and API."""
