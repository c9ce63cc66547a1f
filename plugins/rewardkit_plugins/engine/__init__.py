"""The engine of the model rewards: any transformers model, read where a reward asks, whatever the batch."""
