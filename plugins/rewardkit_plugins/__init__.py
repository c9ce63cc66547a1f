"""The rewards that ship with rewardkit, each written on the public API only. `plugin` lists them."""
