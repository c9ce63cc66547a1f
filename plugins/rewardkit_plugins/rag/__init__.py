"""Rewards for answers that are drawn from passages."""
