"""How many words a test lets each thread's model say. Graphs and routes of one process share it."""

permitted: dict[str, int] = {}
