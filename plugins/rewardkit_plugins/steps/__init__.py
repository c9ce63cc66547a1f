"""The arithmetic of process rewards: steps of a response, and numbers on them, in pure Python."""
