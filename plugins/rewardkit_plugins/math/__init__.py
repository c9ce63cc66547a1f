"""The `math` reward: extraction of final answers and mathematical equality; it judges no reasoning."""
