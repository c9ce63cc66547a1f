"""Gymnasium environments of rewardkit; importing this package registers them, and nothing else happens.

`rewardkit envs` lists them from data, in the plugin `builtin`: finding plugins must not import gymnasium.
"""

import gymnasium

gymnasium.register(id="rewardkit/Math-v0", entry_point="rewardkit_envs.math:MathEnv")
gymnasium.register(id="rewardkit/Code-v0", entry_point="rewardkit_envs.code:CodeEnv")
gymnasium.register(id="rewardkit/RAG-v0", entry_point="rewardkit_envs.rag:RAGEnv")
gymnasium.register(id="rewardkit/Agent-v0", entry_point="rewardkit_envs.agent:AgentEnv")
