"""The facts that everything shares: the events' schema, topics, keys, metrics, settings."""
