"""Gymnasium environments of rewardkit; none is in this release."""
