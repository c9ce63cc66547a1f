"""Trajectories and results to and from JSON lines and Parquet; the shapes are described in docs/formats.md.

Scoring what was read is `scorer`; running over files, resuming and moving outputs into place is `offline`.
"""

from rewardkit.serialize.hashing import task_hash, trajectory_hash
from rewardkit.serialize.parquet import write_parquet
from rewardkit.serialize.reading import Line, read_tasks, read_trajectories
from rewardkit.serialize.results import encode_line, read_results, result_from_json, result_to_json
from rewardkit.serialize.shapes import parse_trajectory, task_from_json, trajectory_from_json
from rewardkit.serialize.writing import trajectory_to_json

__all__ = [
    "Line",
    "encode_line",
    "parse_trajectory",
    "read_results",
    "read_tasks",
    "read_trajectories",
    "result_from_json",
    "result_to_json",
    "task_from_json",
    "task_hash",
    "trajectory_from_json",
    "trajectory_hash",
    "trajectory_to_json",
    "write_parquet",
]
