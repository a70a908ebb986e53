"""Real logs through the code that serves: the log, the system in process, the run, its figures, and a shift of interest."""
