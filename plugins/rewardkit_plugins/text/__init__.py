"""Rewards that compare the answer's words with references: BLEU, ROUGE, chrF."""
