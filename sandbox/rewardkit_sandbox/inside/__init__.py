"""What runs inside a sandbox: the supervisor, the zygote and their children. Only the standard library of Python 3.9.

Nothing here may import the rest of the project: `rewardkit_sandbox.bundle` sends these modules as text to an
interpreter that has nothing but its standard library.
"""
