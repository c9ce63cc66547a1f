"""Losses that train reward models, as pure functions on tensors; needs torch, and no reward imports it."""
