"""Worlds to try a traffic-pool policy in: their settings as JSON, the world itself, the usual rules, and the policy of production."""
