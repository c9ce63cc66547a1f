"""Attacks on the walls: namespaces, mounts, other processes, privileges, and what the kernel offers besides."""

from __future__ import annotations

from rewardkit_sandbox.attacks.model import attack, nothing_reported

_NAMESPACES = r"""
FLAGS = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000,
         "pid": 0x20000000, "net": 0x40000000, "time": 0x80}


def child_of(outcome):
    if outcome == 0:
        os._exit(0)
    return f"allowed ({outcome})" if outcome > 0 else None


def cloned3(flag):
    arguments = (ctypes.c_ulonglong * 11)(flag, 0, 0, 0, signal.SIGCHLD)
    return child_of(call("clone3", ctypes.byref(arguments), 88))


def joined(path):
    descriptor = os.open(path, os.O_RDONLY)
    return does("setns", descriptor, 0)


def by_number(*words):
    return "allowed" if libc.syscall(*map(ctypes.c_long, words)) == 0 else None


def by_processor_mode(code):
    # unshare of the user namespace as a 32-bit or x32 program makes it
    import mmap
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    outcome = function()
    return f"allowed ({outcome})" if outcome == 0 else None


for name, flag in FLAGS.items():
    attempt(f"unshare {name}", lambda: libc.unshare(flag) == 0 and "allowed")
    attempt(f"unshare {name} by number", does, "unshare", flag)
    attempt(f"clone {name}", lambda: child_of(call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)))
    attempt(f"clone3 {name}", cloned3, flag)
attempt("unshare user and mount", does, "unshare", 0x10020000)
for name in ("mnt", "net", "pid", "ipc", "uts", "cgroup", "pid_for_children"):
    for pid in ("1", str(os.getppid()), "self"):
        attempt(f"join {name} of {pid}", joined, f"/proc/{pid}/ns/{name}")
if MACHINE == 0 and platform.machine() == "x86_64":
    attempt("unshare as x32", by_number, 0x40000000 + 272, 0x10000000)
    attempt("unshare as 32-bit", by_processor_mode,  # mov eax, 310; mov ebx, CLONE_NEWUSER; int 0x80; ret, rbx kept
            b"\x53\xb8\x36\x01\x00\x00\xbb\x00\x00\x00\x10\xcd\x80\x5b\xc3")
report()
"""

_MOUNTS = r"""
os.makedirs("place/inner")
here = os.path.join(os.getcwd(), "place").encode()


def mounted(source, kind, flags):
    if call("mount", source, here, kind, flags, None) == 0:
        call("umount2", here, 2)
        return "allowed"


MS_BIND, MS_PRIVATE = 4096, 1 << 18
attempt("tmpfs", mounted, MARK.encode(), b"tmpfs", 0)
attempt("proc", mounted, MARK.encode(), b"proc", 0)
attempt("sysfs", mounted, MARK.encode(), b"sysfs", 0)
attempt("overlay", mounted, MARK.encode(), b"overlay", 0)
attempt("cgroup", mounted, MARK.encode(), b"cgroup2", 0)
attempt("bind /", mounted, b"/", None, MS_BIND)
attempt("bind /proc/1/root", mounted, b"/proc/1/root", None, MS_BIND)
attempt("private", mounted, None, None, MS_PRIVATE)
attempt("libc's mount", lambda: libc.mount(b"none", here, b"nosuchfs", 0, None) == 0
        or ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS))
attempt("umount", may, "umount2", here + b"/inner", 2)
attempt("pivot_root", may, "pivot_root", here, here)
attempt("chroot", does, "chroot", here)
attempt("chroot by libc", lambda: libc.chroot(here) == 0 and "allowed")
attempt("fsopen", does, "fsopen", b"tmpfs", 0)
attempt("open_tree", does, "open_tree", -100, b"/", 1)
attempt("mount_setattr", lambda: may("mount_setattr", -100, here, 0, ctypes.byref((ctypes.c_ulonglong * 4)()), 32))
report()
"""

_OTHERS = r"""
PTRACE_SEIZE, PTRACE_ATTACH, PTRACE_DETACH = 0x4206, 16, 17
targets = {f"process {pid}": pid for pid in (1, os.getppid(), FACTS["checker"], *strangers()[:5])
           if pid not in (0, os.getpid())}


def sized(path):
    with open(path, "rb", 0) as memory:
        with open(path.replace("/mem", "/maps")) as maps:
            start = int(next(line for line in maps if " r" in line).split("-")[0], 16)
        memory.seek(start)
        return f"{len(memory.read(4096))} bytes"


def traced(pid):
    if call("ptrace", PTRACE_SEIZE, pid, 0, 0) == 0:
        call("ptrace", PTRACE_DETACH, pid, 0, 0)
        return "allowed"


def copied(pid):
    # memory of another process, where this one has some too: an image that forked has the same addresses
    buffer = ctypes.create_string_buffer(64)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 64)
    remote = (ctypes.c_size_t * 2)(id(json), 64)
    size = call("process_vm_readv", pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return f"{size} bytes" if size > 0 else None


def taken(pid):
    handle = call("pidfd_open", pid, 0)
    return handle >= 0 and [n for n in range(30) if call("pidfd_getfd", handle, n, 0) >= 0]


def signalled(pid):
    os.kill(pid, 0)
    return "can be signalled"


def by_handle(pid):
    handle = call("pidfd_open", pid, 0)
    return handle >= 0 and does("pidfd_send_signal", handle, 0, None, 0)


def of_the_line():
    # who made the stream that this is connected to, as a handle to a process
    found = []
    for descriptor in range(64):
        try:
            with socket.socket(fileno=os.dup(descriptor)) as stream:
                handle = int.from_bytes(stream.getsockopt(socket.SOL_SOCKET, 77, 4), sys.byteorder)
        except OSError:
            continue
        if call("pidfd_send_signal", handle, 0, None, 0) == 0:
            found.append(descriptor)
    return found


def limited(pid):
    old = (ctypes.c_ulonglong * 2)()
    return does("prlimit64", pid, 7, None, ctypes.byref(old))


for name, pid in targets.items():
    mine = pid == 1 and os.getppid() in (0, 1)  # a program's own init is a part of its place
    attempt(f"the memory of {name}", sized, f"/proc/{pid}/mem")
    attempt(f"ptrace of {name}", traced, pid)
    attempt(f"reading {name}", copied, pid)
    attempt(f"descriptors of {name}", taken, pid)
    attempt(f"the files of {name}", lambda: [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
            if not mine else None)
    if not mine:
        attempt(f"a signal to {name}", signalled, pid)
        attempt(f"a signal by handle to {name}", by_handle, pid)
        attempt(f"the limits of {name}", limited, pid)
attempt("a signal along the stream", of_the_line)
report()
"""

_KILL = r"""
if not apart("pid"):
    try:
        os.kill(FACTS["checker"], 0)
        report(kill="the checker itself could be killed")
        sys.exit()
    except OSError:
        pass
report()
if apart("pid"):  # nothing of the host can be hit: in earnest
    for number in (signal.SIGCONT, signal.SIGUSR1, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        for pid in {1, os.getppid(), *strangers()} - {0, os.getpid()}:
            try:
                os.kill(pid, number)
            except OSError:
                pass
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in (-1, 0):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            try:
                os.kill(group, number)
            except OSError:
                pass
"""

_PRIVILEGES = r"""
import subprocess

lines = dict(line.split(":\t", 1) for line in content("/proc/self/status").decode().splitlines() if ":\t" in line)
for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
    if int(lines.get(name, "0"), 16):
        got[name] = lines[name]
if content("/proc/self/uid_map").split() == [b"0", b"0", b"4294967295"] and os.geteuid() == 0:
    got["user"] = "root of the machine"


def become(name, *arguments):
    before = os.getresuid(), os.getresgid(), os.getgroups()
    getattr(os, name)(*arguments)
    after = os.getresuid(), os.getresgid(), os.getgroups()
    return f"from {before} to {after}" if before != after else None


def raised(path):
    with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        for _ in range(6):
            users = re.search(rb"^Uid:\t(\d+)\t(\d+)", content(f"/proc/{child.pid}/status"), re.M)
            if users and int(users[2]) == 0:
                child.kill()
                return "it runs as root"
            time.sleep(0.005)
        child.kill()


def priority():
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "raised"


def shielded():
    with open("/proc/self/oom_score_adj", "r+") as score:
        before = int(score.read())
        score.seek(0)
        score.write("-1000")
    return f"from {before} to -1000"


def real_time():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return "real-time scheduling"


def unlimited():
    import resource
    for name in (resource.RLIMIT_NPROC, resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
        hard = resource.getrlimit(name)[1]
        if hard != resource.RLIM_INFINITY:
            resource.setrlimit(name, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            return f"limit {name} is off"


for name, arguments in (("setuid", (0,)), ("setresuid", (0, 0, 0)), ("setgid", (0,)), ("setgroups", ([0],)),
                        ("setresgid", (0, 0, 0)), ("setresuid", (1, 1, 1))):
    attempt(f"{name}{arguments}", become, name, *arguments)
marked = [os.path.join(place, name) for place in ("/bin", "/usr/bin", "/sbin", "/usr/sbin") for name in entries(place)
          if name in ("su", "sudo", "passwd", "newgrp", "chsh", "chfn", "gpasswd", "mount", "umount", "pkexec", "ping")]
for path in marked:
    if os.stat(path).st_mode & 0o4000 and os.geteuid():
        attempt(path, raised, path)
attempt("priority", priority)
attempt("out of memory score", shielded)
attempt("scheduling", real_time)
attempt("limits", unlimited)
report()
"""

_KERNEL = r"""
def made(name, size, words, *arguments):
    # a system call that is given a structure, with words at their offsets, in the place of `made`
    structure = (ctypes.c_uint * (size // 4))()
    for offset, word in words.items():
        structure[offset] = word
    return does(name, *[ctypes.byref(structure) if a is made else a for a in arguments])


attempt("bpf", made, "bpf", 128, {0: 2, 1: 4, 2: 4, 3: 1}, 0, made, 128)
attempt("perf_event_open", made, "perf_event_open", 128, {0: 1, 1: 112}, made, 0, -1, -1, 0)
attempt("perf_event_open of the user part", made, "perf_event_open", 128, {0: 1, 1: 112, 10: 0x60}, made, 0, -1, -1, 0)
attempt("userfaultfd", does, "userfaultfd", 1)
attempt("io_uring", made, "io_uring_setup", 120, {}, 1, made)
attempt("keyctl", does, "keyctl", 0, -3, 1)
attempt("add_key", does, "add_key", b"user", MARK.encode(), b"x", 1, -2)
attempt("kexec_load", may, "kexec_load", 0, 0, 0, 0xFFFF)
attempt("init_module", may, "init_module", b"", 0, b"")
attempt("finit_module", may, "finit_module", -1, b"", 0)
attempt("delete_module", may, "delete_module", MARK.encode(), 0)
attempt("swapon", may, "swapon", b"/nonexistent/" + MARK.encode(), 0)
attempt("reboot", may, "reboot", 0, 0, 0, 0)
attempt("acct", may, "acct", b"/nonexistent/" + MARK.encode())
attempt("sethostname", may, "sethostname", b"", -1)
attempt("settimeofday", may, "settimeofday", None, None)
attempt("the kernel's log", does, "syslog", 3, ctypes.create_string_buffer(64), 64)
attempt("fanotify", does, "fanotify_init", 0, 0)
if platform.machine() == "x86_64":
    for name, words in (("iopl", (172, 3)), ("ioperm", (173, 0x80, 1, 1))):
        attempt(name, lambda: "allowed" if libc.syscall(*map(ctypes.c_long, words)) == 0 else None)


def opened(path):
    os.close(os.open(path, os.O_WRONLY))
    return "can be written"


def made_folder(path):
    os.mkdir(path)
    os.rmdir(path)
    return "made"


def device(kind, major, minor):
    os.mknod("node", kind | 0o600, os.makedev(major, minor))
    try:
        os.close(os.open("node", os.O_RDONLY))
        return "made and opened"
    finally:
        os.unlink("node")


for path in ("kernel/core_pattern", "kernel/hostname", "kernel/modprobe", "kernel/randomize_va_space",
             "vm/overcommit_memory", "vm/drop_caches", "fs/file-max", "net/ipv4/ip_forward", "kernel/pid_max",
             "kernel/shmmax", "fs/mqueue/msg_max", "user/max_user_namespaces"):
    attempt("/proc/sys/" + path, opened, "/proc/sys/" + path)
for path in ("/proc/sysrq-trigger", "/proc/acpi/wakeup", "/proc/irq/0/smp_affinity", "/proc/mtrr", "/sys/power/state",
             "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent",
             "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs", "/sys/kernel/mm/ksm/run",
             "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop-control", "/dev/mapper/control", "/dev/uinput",
             "/dev/vhost-net", "/dev/vsock", "/dev/userfaultfd", "/dev/btrfs-control", "/dev/vfio/vfio"):
    attempt(path, opened, path)
attempt("a disk of its own making", device, 0o060000, 8, 0)
attempt("a disk of its own making (virtual)", device, 0o060000, 254, 0)
attempt("memory of its own making", device, 0o020000, 1, 1)
attempt("the kernel's log of its own making", device, 0o020000, 1, 11)
attempt("a cgroup", made_folder, "/sys/fs/cgroup/" + MARK)
attempt("a cgroup in cgroup v1", made_folder, "/sys/fs/cgroup/memory/" + MARK)
report()
"""

ATTACKS = (
    attack("namespaces", "escape", "makes and joins namespaces: libc, by number, clone3, x32, 32-bit", _NAMESPACES),
    attack("mounts", "escape", "mount, umount, pivot_root, chroot, and the new mount calls", _MOUNTS),
    attack("other-processes", "escape", "reads, traces, signals and limits processes that are not its own", _OTHERS),
    attack(
        "own-init",
        "escape",
        "the same on what starts it for each of its inputs",
        _OTHERS,
        held=lambda executions: nothing_reported(executions[0].runs or executions),
        inputs=(b"", b""),
    ),
    attack(
        "killing",
        "escape",
        "kills its supervisor, init and everything else; the next program must run",
        _KILL,
    ),
    attack("privileges", "escape", "capabilities, setuid and setuid programs, limits, priorities", _PRIVILEGES),
    attack("kernel", "escape", "bpf, io_uring, perf, keys, modules, /proc/sys, /sys, devices", _KERNEL),
)
