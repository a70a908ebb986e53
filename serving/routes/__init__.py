"""The HTTP surface: one file for what belongs together."""
