"""The rules, as sentences; the same tree as the code."""
