"""Code execution for rewardkit; no backend is in this release."""
