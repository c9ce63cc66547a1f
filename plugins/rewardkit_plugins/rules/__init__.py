"""Rewards that look at the text alone: equality, patterns, format, length, repetition."""
