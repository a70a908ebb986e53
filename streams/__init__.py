"""The stages: each a fold over one log, run by one engine."""
