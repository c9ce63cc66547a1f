"""Rewards that read a model: likelihoods, reward models, process rewards, embeddings (extra `hf`)."""
