"""Attacks on the next program: traces in the interpreter, in files, in the kernel and in memory.

What the probe after every attack sees anyway (files, processes, environment, settings) has no second program here.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewardkit.programs import Execution
from rewardkit_sandbox.attacks.model import attack, ending, nothing_reported, report

_PATCH = r"""
import builtins, codecs, decimal, gc, io, locale, random, resource, threading, types, warnings

builtins.leftover = MARK
builtins.print = lambda *arguments, **options: None
builtins.open = lambda *arguments: io.StringIO(MARK)
builtins.__import__ = builtins.__import__
builtins.sum = lambda numbers: 42
builtins.ZeroDivisionError = KeyError
json.dumps = lambda *arguments, **options: '"' + MARK + '"'
os.getpid = lambda: 1
sys.modules[MARK] = types.ModuleType(MARK)
sys.path.insert(0, "/" + MARK)
sys.meta_path.insert(0, types.SimpleNamespace(find_spec=lambda *arguments: None))
sys.setrecursionlimit(777)
sys.setswitchinterval(0.5)
sys.settrace(lambda *arguments: None)
sys.excepthook = lambda *arguments: os._exit(0)
sys.stdout.write = lambda text: 0
sys.dont_write_bytecode = not sys.dont_write_bytecode
random.seed(1)
random.random = lambda: 0.5
decimal.getcontext().prec = 3
gc.disable()
gc.callbacks.append(lambda *arguments: None)
warnings.simplefilter("ignore")
codecs.register(lambda name: None)
threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
os.environ[MARK] = os.environ["PATH"] = MARK
os.umask(0o777)
os.nice(5)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for number in (1, 2, 13, 14, 15, 17):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for name in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK):
    resource.setrlimit(name, (1 << 12, 1 << 12))
# and what all programs may share in memory: small integers, empty tuples, constants of modules, types of the kernel
for number, address in ((7, id(7)), (200, id(200))):
    ctypes.c_uint.from_address(address + 24).value = number + 1
os._exit(0)
"""

_FILES = r"""
import sysconfig


def leave(path):
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as trace:
            trace.write(f"raise SystemExit({MARK!r})")
        created.append(os.path.abspath(path))
    except OSError:
        pass


created = []
library = sysconfig.get_paths()
for place in (*PLACES, os.path.expanduser("~")):
    leave(os.path.join(place, MARK))
for folder in (library["stdlib"], library["purelib"], "/tmp", ".", os.path.dirname(os.getcwd())):
    leave(os.path.join(folder, MARK + ".py"))
    leave(os.path.join(folder, MARK + ".pth"))
    leave(os.path.join(folder, "__pycache__", MARK + ".pyc"))
report(_created=created)
"""

_IPC = r"""
import threading

key = 0x5EC0DE
libc.shmget(key, 4096, 0o1666)
libc.semget(key, 1, 0o1666)
queue = libc.msgget(key, 0o1666)
libc.msgsnd(queue, ctypes.create_string_buffer(b"\1\0\0\0\0\0\0\0" + MARK.encode()), 8, 0o4000)
libc.mq_open(b"/" + MARK.encode(), 0o102, 0o666, None)
ctypes.CDLL("librt.so.1", use_errno=True).mq_open(b"/" + MARK.encode(), 0o102, 0o666, None)
ctypes.CDLL("libpthread.so.0").sem_open(b"/" + MARK.encode(), 0o102, 0o666, 1)
for ring in (-2, -3, -4, -5):  # the keyrings of the process, session, user and user session
    key = call("add_key", b"user", MARK.encode(), b"secret", 6, ring)
    call("keyctl", 15, key, 20)  # gone by itself after 20 s
if os.fork() == 0:
    os.setsid()
    signal.alarm(8)
    for descriptor in range(3):
        os.close(descriptor)
    stream, names = socket.socket(), socket.socket(socket.AF_UNIX)
    stream.bind(("127.0.0.1", 45454))
    stream.listen()
    names.bind("\0leftover")
    names.listen()
    time.sleep(8)
    os._exit(0)
time.sleep(0.1)
report()
"""

_IPC_FOUND = r"""
def key_of(ring):
    return does("keyctl", 10, ring, b"user", MARK.encode(), 0)


def connected(family, address):
    with socket.socket(family) as stream:
        stream.connect(address)
        return "somebody listens"


for way in ("shmget", "semget", "msgget"):
    attempt(way, does, way, 0x5EC0DE, 0, 0)
attempt("POSIX queue", lambda: does("mq_open", MARK.encode(), 0))
attempt("semaphore", lambda: [name for name in entries("/dev/shm") if MARK in name])
for ring in (-2, -3, -4, -5):
    attempt(f"keyring {ring}", key_of, ring)
attempt("port", connected, socket.AF_INET, ("127.0.0.1", 45454))
attempt("abstract socket", connected, socket.AF_UNIX, "\0leftover")
report()
"""

_SOURCE = """
secret = "@SECRET@"
kept = [sys.stdin.read(), bytearray(secret.encode()) * 1000]
os.environ["LEFT"] = secret
print("done")
report()
"""

_SCAN = r"""
report(**{secret: "is in memory" for secret in secrets_in_memory()})
"""

# Each run leaves traces for the next, in memory a secret that it makes of its own input, and searches for theirs.
_RUNS = r"""
import builtins, hashlib

own = sys.stdin.read()
found = secrets_in_memory()
for name in {"one", "two", "three"} - {own}:
    if hashlib.md5((name + MARK).encode()).hexdigest() in "".join(found):
        got["memory"] = f"of the run on {name!r}"
kept = [f"RKSECRET-{hashlib.md5((own + MARK).encode()).hexdigest()}".encode() * 100 for _ in range(100)]
for path in [MARK, "/tmp/" + MARK, "/dev/shm/" + MARK, "/var/tmp/" + MARK]:
    if os.path.exists(path):
        got[path] = "was left by the run before"
    try:
        open(path, "w").close()
    except OSError:
        pass
if os.path.exists("given") and content("given") != b"given":
    got["given"] = "a given file was changed by the run before"
if hasattr(builtins, "leftover") or "LEFT" in os.environ or MARK in sys.modules:
    got["interpreter"] = "was changed by the run before"
if libc.shmget(0x5EC0DE, 4096, 0) >= 0:
    got["System V"] = "a segment of the run before"
libc.shmget(0x5EC0DE, 4096, 0o1666)
others = [pid for pid in strangers() if content(f"/proc/{pid}/comm").strip() == MARK.encode()]
if others:
    got["processes"] = f"{len(others)} of the run before"
builtins.leftover, os.environ["LEFT"], sys.modules[MARK] = 1, "x", sys
open("given", "w").write("spoilt")
if os.fork() == 0:
    os.setsid()
    signal.alarm(8)
    for descriptor in range(64):
        try:
            os.close(descriptor)
        except OSError:
            pass
    time.sleep(8)
    os._exit(0)
report()
for pid in {os.getppid(), 1} - {0, os.getpid()} if apart("pid") else ():
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except OSError:
            pass
"""

# Each run does to its place what makes it hard to clear up for the next, and says what it found there itself.
_SPOILT = r"""
import shutil


def deep(levels):
    for _ in range(levels):
        os.mkdir("d")
        os.chdir("d")


def away(make):
    here = os.getcwd()
    os.chdir("/")
    shutil.rmtree(here, ignore_errors=True)
    make(here)


def full():
    with open("/tmp/full", "wb", 0) as file:
        for _ in range(100):
            file.write(b"x" * (1 << 20))


WAYS = [
    lambda: deep(400),
    lambda: deep(400) or os.chmod(".", 0),
    lambda: away(lambda here: open(here, "w").close()),
    lambda: away(lambda here: os.symlink("/dev/shm", here)),
    lambda: away(lambda here: os.symlink(here, here)),
    lambda: os.rename(os.getcwd(), "/tmp/elsewhere"),
    lambda: os.chmod(".", 0),
    lambda: os.chmod("/tmp", 0),
    lambda: os.chmod("/dev/shm", 0),
    lambda: os.unlink("given") or os.mkdir("given") or os.mkfifo("given/x"),
    lambda: os.mkdir(bytes([255, 10])) or os.chmod(bytes([255, 10]), 0),
    lambda: [open(f"/tmp/f{n}", "w").close() for n in range(10_000)],
    full,
    lambda: None,
]
print(json.dumps({"place": sorted(os.listdir(".")), "given": content("given").decode()}), flush=True)
try:
    if apart("mnt"):  # else they would spoil the host's own places
        WAYS[int(sys.stdin.read())]()
except OSError:
    pass
os._exit(0)
"""
_WAYS = tuple(b"%d" % number for number in range(14))
_INPUTS = (b"one", b"two", b"three")


def _all_ran(executions: Sequence[Execution]) -> str | None:
    runs = executions[0].runs
    if len(runs) != len(_INPUTS):
        return f"{len(runs)} of {len(_INPUTS)} inputs were run"
    return nothing_reported(runs)


def _same_place(executions: Sequence[Execution]) -> str | None:
    found = [run.stdout for run in executions[0].runs]
    if len(found) != len(_WAYS) or b'"given": "given"' not in found[0]:
        return f"{len(found)} of {len(_WAYS)} inputs were run: {ending(executions[0])}"
    other = next((number for number, text in enumerate(found) if text != found[0]), 0)
    return f"after way {other - 1}, a run finds {found[other]!r:.200}" if other else None


def _done(executions: Sequence[Execution]) -> str | None:
    try:
        report(executions[0])
    except ValueError as problem:
        return str(problem)
    return nothing_reported(executions[1:])


ATTACKS = (
    attack(
        "interpreter",
        "contamination",
        "changes builtins, modules, settings, signals and limits",
        _PATCH,
        held=lambda _: None,  # the probe judges
    ),
    attack("left-files", "contamination", "leaves files and modules everywhere", _FILES),
    attack("left-ipc", "contamination", "leaves segments, queues, semaphores, keys, listeners", _IPC, _IPC_FOUND),
    attack(
        "left-memory",
        "contamination",
        "the next program searches its memory for source, input, files, environment",
        _SOURCE,
        _SCAN,
        held=_done,
        stdin=b"@SECRET@",
    ),
    attack(
        "runs",
        "contamination",
        "a run on one input searches for traces of the runs on others",
        _RUNS,
        held=_all_ran,
        inputs=_INPUTS,
        files={"given": b"given"},
    ),
    attack(
        "spoilt-places",
        "contamination",
        "a run makes its place hard to clear up for the next",
        _SPOILT,
        held=_same_place,
        inputs=_WAYS,
        files={"given": b"given"},
    ),
)
