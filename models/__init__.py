"""What is decided and learned: pure functions and small classes, without input or output, clock or global randomness."""
