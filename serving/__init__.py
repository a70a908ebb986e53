"""A request's path, in order: query, sources, filters, scorers, mix, slots, response."""
