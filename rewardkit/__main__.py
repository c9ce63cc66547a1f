"""`python -m rewardkit`: the same as the command `rewardkit`, also where another distribution owns that name."""

from rewardkit.cli import main

if __name__ == "__main__":
    main(prog_name="python -m rewardkit")
