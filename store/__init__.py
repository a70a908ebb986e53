"""Where state lives: one protocol, a memory and a Redis implementation, and the layout of what they hold."""
