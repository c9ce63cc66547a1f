"""Attacks on the answer: what looks like the sandbox's own words, and a judge that runs beside the candidate."""

from __future__ import annotations

from collections.abc import Sequence

from rewardkit.programs import Execution, Program
from rewardkit_sandbox.attacks.model import LIMITS, Attack, attack, ending, nothing_reported

_WORDS = (
    b"\0\0\0\1I\0\0\0\1S\0\0\0\2{}", b"\x7f\xff\xff\xff", b"\xff" * 16, b"IS", b'{"exit_code": 0, "limit": null}\n',
    b'{"status": "finished", "passed": true}\n', b"\1\0\0\0\0\0\0\5hello", b"\x80\x04N.", b"E" * 40 + b"\0" * 40,
)  # fmt: skip

_FRAMES = f"""
WORDS = {_WORDS!r}
for number in (1, 2):
    for word in WORDS:
        os.write(number, word)
os._exit(7)
"""

_DESCRIPTORS = f"""
WORDS = {_WORDS!r}
KEPT = int(os.environ.get("KEPT", "2"))
for number in range(KEPT + 1, 1024):
    try:
        target = os.readlink(f"/proc/self/fd/{{number}}")
    except OSError:
        continue
    if target.startswith("/") and not target.startswith(("/dev/null", "/proc/", os.getcwd())):
        got[str(number)] = target  # a pipe or a stream may be there, for as long as it is of no use
for folder in ("/proc/self/fd", "/dev/fd", f"/proc/{{os.getppid()}}/fd", "/proc/1/fd"):
    for name in entries(folder):
        if not (folder in ("/proc/self/fd", "/dev/fd") and int(name) <= KEPT) and os.getpid() != 1:
            try:  # opened only: it may be the host's
                os.close(os.open(f"{{folder}}/{{name}}", os.O_WRONLY | os.O_NONBLOCK))
                got[f"{{folder}}/{{name}}"] = "can be written"
            except OSError:
                pass
report()
for number in range(KEPT + 1, 1024):
    for word in WORDS:
        try:
            os.write(number, word)
            libc.shutdown(number, 2)
        except OSError:
            break
os._exit(7)
"""

# The judge is the checker's own: what it prints is to be believed.
_JUDGE = r"""
line = socket.socket(fileno=3)
line.settimeout(4)
listeners = {}
ADDRESSES = {"a port": (socket.AF_INET, ("127.0.0.1", 45455)), "an abstract socket": (socket.AF_UNIX, "\0judge")}
for name, (family, address) in ADDRESSES.items():
    try:
        listeners[name] = socket.socket(family)
        listeners[name].bind(address)
        listeners[name].listen()
    except OSError:
        pass
for folder in (".", "/tmp", "/dev/shm", "/var/tmp"):
    try:
        open(f"{folder}/judge", "w").close()
    except OSError:
        pass
libc.shmget(0x10D6E, 4096, 0o1666)
secret = sys.stdin.read()
line.sendall(b"go")
heard = line.recv(16)
for name, listener in listeners.items():
    listener.setblocking(False)
    try:
        listener.accept()
        got[name] = "the candidate came"
    except OSError:
        pass
for name in entries("."):
    if name != "judge":
        got[name] = "the candidate wrote here"
if heard != b"done":
    got["the line"] = f"heard {heard!r}"
report()
"""

_REACH = r"""
def connected(family, address):
    with socket.socket(family) as stream:
        stream.settimeout(0.5)
        stream.connect(address)
        return "somebody listens"


def judged(path):
    return os.path.exists(path) and "it is there"


def signalled(pid):
    os.kill(pid, 0)
    return "can be signalled"


def maker():
    handle = int.from_bytes(line.getsockopt(socket.SOL_SOCKET, 77, 4), sys.byteorder)
    return does("pidfd_send_signal", handle, 0, None, 0)


line = socket.socket(fileno=3)
assert line.recv(2) == b"go"
attempt("the judge's port", connected, socket.AF_INET, ("127.0.0.1", 45455))
attempt("the judge's abstract socket", connected, socket.AF_UNIX, "\0judge")
for folder in ("/tmp", "/dev/shm", "/var/tmp", "..", "/"):
    attempt(f"the judge's file in {folder}", judged, f"{folder}/judge")
attempt("the judge's segment", does, "shmget", 0x10D6E, 0, 0)
credentials = int.from_bytes(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
for pid in {credentials, *strangers()} - {0, 1, os.getpid(), os.getppid()}:
    attempt(f"process {pid}", signalled, pid)
    for name in ("mem", "environ", "root/etc", "fd/0", "cwd/judge"):
        attempt(f"/proc/{pid}/{name}", lambda: (content(f"/proc/{pid}/{name}") or entries(f"/proc/{pid}/{name}"))
                and "can be read")
attempt("who made the line", maker)
got.update({secret: "is in memory" for secret in secrets_in_memory()})
report()
line.sendall(b"done")
line.recv(1)  # until the judge ends
"""

_LISTENER = r"""
line = socket.socket(fileno=3)
line.settimeout(4)
heard = b""
while len(heard) < 1 << 20:
    piece = line.recv(1 << 16)
    if not piece:
        break
    heard += piece
report(_heard=len(heard))
os._exit(5)
"""

_FILL = r"""
import array

line = socket.socket(fileno=3)
try:  # descriptors along with the bytes, and itself among them
    for _ in range(50):
        line.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2, 3]))])
except OSError:
    pass
try:
    while True:
        line.send(b"x" * (1 << 16))
except OSError:
    pass
report()
"""

_HANG = r"""
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
os.fork()
time.sleep(5)
"""

_PRINTING = r"""
stop, left = time.monotonic() + 2, 2000
while time.monotonic() < stop and left:
    left -= 1
    os.write(1, b'\n{"the judge": "is forged"}\n' * 4096)
"""

_DIE = "os.kill(os.getpid(), 9)"
_LEAVE = "os.close(3)\ntime.sleep(5)"


def _beside(name: str, summary: str, code: str, judge: str, *, within: float = 3.0) -> Attack:
    """Return an attack on a judge: it must end by itself, in time, and have heard and said what it should."""

    def held(executions: Sequence[Execution]) -> str | None:
        candidate, beside = executions[0], executions[0].peer
        if beside is None:
            return "how the judge ended is not told"
        if max(candidate.wall_s, beside.wall_s) > within:
            return f"it went on for {max(candidate.wall_s, beside.wall_s):.1f} s"
        if judge == _LISTENER and (beside.exit_code, beside.limit) != (5, None):
            return f"the judge ended otherwise: {ending(beside)}"
        return nothing_reported((beside, candidate) if judge == _JUDGE else (beside,))

    # The peer's @SECRET@ is for the candidate to search for; the candidate gets none.
    peer = Program(code=judge, stdin=b"@SECRET@", env={"KEPT": "3"}, limits=LIMITS)
    return attack(name, "forging", summary, code, held=held, peer=peer, env={"KEPT": "3"})


def _word_for_word(executions: Sequence[Execution]) -> str | None:
    said = b"".join(_WORDS)
    found = executions[0]
    if (found.stdout, found.stderr) != (said, said):
        return "what it printed came back otherwise"
    return None if (found.exit_code, found.limit) == (7, None) else f"its end was forged: {ending(found)}"


def _seven(executions: Sequence[Execution]) -> str | None:
    if (executions[0].exit_code, executions[0].limit) != (7, None):
        return f"its end was forged: {ending(executions[0])}"
    return nothing_reported(executions)


ATTACKS = (
    attack("frames", "forging", "prints what looks like the sandbox's own messages", _FRAMES, held=_word_for_word),
    attack("descriptors", "forging", "writes into every descriptor that it inherited", _DESCRIPTORS, held=_seven),
    _beside("judge", "reaches the judge beside it by another way than their stream", _REACH, _JUDGE),
    _beside("judge-flooded", "fills the stream and sends descriptors along it", _FILL, _LISTENER),
    _beside("judge-drowned", "prints without end while the judge listens", _PRINTING, _LISTENER),
    _beside("judge-deserted", "dies before the judge has heard anything", _DIE, _LISTENER),
    _beside("judge-left", "closes the stream and stays", _LEAVE, _LISTENER),
    _beside("judge-outlived", "hangs, deaf, when the judge is done", _HANG, "report()"),
)
