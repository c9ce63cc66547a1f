"""Gymnasium environments of rewardkit; importing this package registers them, and nothing else happens.

`rewardkit envs` lists them from data, in the plugin `builtin`: finding plugins must not import gymnasium.
"""

import gymnasium

for _name, _where in {"Math": "math", "Code": "code", "RAG": "rag", "Agent": "agent"}.items():
    gymnasium.register(
        id=f"rewardkit/{_name}-v0",
        entry_point=f"rewardkit_envs.{_where}:{_name}Env",
        vector_entry_point=f"rewardkit_envs.vector:{_name}VectorEnv",
    )
