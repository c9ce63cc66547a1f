"""Attacks on the network: the outside, the host, its sockets, and programs beside this one."""

from __future__ import annotations

from rewardkit_sandbox.attacks.model import attack

_OUTSIDE = r"""
def tcp(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.settimeout(0.5)
        stream.connect((address, port))
        return "connected"


def route(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect((address, 53))
        return "there is a route"


def name():
    return [found[4][0] for found in socket.getaddrinfo("example.com", 80)]


def server():
    for line in content("/etc/resolv.conf").decode().splitlines():
        if line.startswith("nameserver"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.settimeout(0.3)
                datagrams.sendto(b"RK\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1", (line.split()[1], 53))
                return f"{len(datagrams.recv(512))} bytes from {line.split()[1]}"


for address, port in (("1.1.1.1", 53), ("8.8.8.8", 443), ("2606:4700:4700::1111", 53), ("169.254.169.254", 80)):
    attempt(f"TCP to {address}", tcp, address, port, seconds=1)
for address in ("192.0.2.1", "10.0.0.1", "172.17.0.1", "2001:db8::1"):
    attempt(f"UDP to {address}", route, address)
attempt("DNS by libc", name, seconds=1)
attempt("DNS by hand", server, seconds=1)
report()
"""

_HOST = r"""
def tcp(address, port):
    with socket.create_connection((address, port), 0.5) as stream:
        stream.sendall(MARK.encode())
        return "connected"


def udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(MARK.encode(), (address, FACTS["udp"]))  # who gets it, if anyone, the host can tell


def listening():
    text = content("/proc/net/tcp", 1 << 20).decode().splitlines()[1:]
    return [line.split()[1] for line in text if line.split()[3] == "0A"]


addresses = {*FACTS["addresses"], "127.0.0.1", "0.0.0.0", "172.17.0.1", "localhost", "host.docker.internal"}
for line in content("/proc/net/route").decode().splitlines()[1:]:
    gateway = line.split()[2]
    addresses.add(".".join(str(int(gateway[i:i + 2], 16)) for i in (6, 4, 2, 0)))
for address in sorted(addresses):
    attempt(f"TCP to {address}", tcp, address, FACTS["tcp"], seconds=1)
    attempt(f"UDP to {address}", udp, address, seconds=1)
attempt("TCP to ::1", tcp, "::1", FACTS["tcp6"] or 1)
attempt("TCP sockets that listen", listening)
report()
"""

_UNIX = r"""
def unix(path):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(0.5)
        stream.connect(path)
        if MARK in path or path == FACTS["socket"]:
            stream.sendall(MARK.encode())
        return "connected"


paths = {FACTS["socket"], "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
         "/run/podman/podman.sock", "/run/crio/crio.sock", "/run/dbus/system_bus_socket", "/run/systemd/private",
         "/run/systemd/notify", "/dev/log", "/tmp/.X11-unix/X0", "/run/snapd.socket"}
for line in content("/proc/net/unix", 1 << 20).decode().splitlines()[1:]:
    fields = line.split()
    if len(fields) == 8:
        paths.add(fields[7].replace("@", "\0", 1) if fields[7].startswith("@") else fields[7])
paths.add("\0" + FACTS["abstract"])
for prefix in ("/proc/1/root", f"/proc/{os.getppid()}/root", "/proc/self/root"):
    paths.add(prefix + FACTS["socket"])
for path in sorted(paths)[:60]:
    attempt("unix socket " + path.replace("\0", "@"), unix, path, seconds=1)
report()
"""

_KINDS = r"""
KINDS = {
    "raw": (2, 3, 1), "raw IPv6": (10, 3, 58), "packet": (17, 3, 0x300), "netlink route": (16, 3, 0),
    "netlink audit": (16, 3, 9), "netlink netfilter": (16, 3, 12), "crypto (AF_ALG)": (38, 5, 0), "vsock": (40, 1, 0),
    "Bluetooth": (31, 3, 1), "CAN": (29, 3, 1), "XDP": (44, 3, 0), "TIPC": (30, 1, 0), "KCM": (41, 2, 0),
    "RDS": (21, 5, 0), "SMC": (43, 1, 0), "key management": (15, 3, 2), "AX.25": (3, 5, 0), "X.25": (9, 5, 0),
    "AppleTalk": (5, 2, 0), "QIPCRTR": (42, 2, 0), "NFC": (39, 5, 0), "LLC": (26, 1, 0), "PPPoX": (24, 1, 0),
}


def make(family, kind, protocol):
    descriptor = libc.socket(family, kind, protocol)
    return f"a socket ({descriptor})" if descriptor >= 0 else None


for name, (family, kind, protocol) in KINDS.items():
    attempt(name, make, family, kind, protocol)
report()
"""

ATTACKS = (
    attack("outside", "network", "reaches the internet: TCP, UDP, cloud metadata, names", _OUTSIDE),
    attack("host-ports", "network", "reaches what listens on the host's own addresses", _HOST),
    attack("host-sockets", "network", "reaches the Docker socket and the host's unix and abstract sockets", _UNIX),
    attack(
        "socket-kinds", "network", "opens sockets of kinds that namespaces confine badly: raw, vsock, AF_ALG", _KINDS
    ),
)
