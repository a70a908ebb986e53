"""What must not be shown: one file a filter. Those in `EARLY` of `build.py` judge by hash, before records are read."""
