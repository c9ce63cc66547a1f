"""Rewards for programs: what they do in a sandbox (`unit_tests`, `executes`, `sql`), and their form (`code_format`)."""
