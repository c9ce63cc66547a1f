"""Rewards and environments in the words of the trainers: `trl`, `verl`, `openrlhf`.

Each module speaks to one trainer and imports it only where it is used. What a trainer does with a reward that cannot be
had is on its page in the documentation; it is never 0 unless the user says so.
"""
