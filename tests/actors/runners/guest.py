"""What a program finds out about the jail that it is in: run inside a container, it prints one JSON object.

Each fact is named by what it is about. A call that fails is told by the name of its error, one that succeeds as "done".
"""

import ctypes
import errno
import json
import os
import socket
import stat
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": (
        "ptrace 101 pivot_root 155 mount 165 swapon 167 reboot 169 init_module 175 settimeofday 164 chroot 161 "
        "kexec_load 246 add_key 248 keyctl 250 unshare 272 perf_event_open 298 name_to_handle_at 303 setns 308 "
        "process_vm_readv 310 bpf 321 userfaultfd 323 io_uring_setup 425 clone 56 clone3 435 fsopen 430 umount2 166 "
        "open_by_handle_at 304 pidfd_getfd 438 syslog 103"
    ),
    "aarch64": (
        "ptrace 117 pivot_root 41 mount 40 swapon 224 reboot 142 init_module 105 settimeofday 170 chroot 51 "
        "kexec_load 104 add_key 217 keyctl 219 unshare 97 perf_event_open 241 name_to_handle_at 264 setns 268 "
        "process_vm_readv 270 bpf 280 userfaultfd 282 io_uring_setup 425 clone 220 clone3 435 fsopen 430 umount2 39 "
        "open_by_handle_at 265 pidfd_getfd 438 syslog 116"
    ),
}
NEW_USER = 0x1000_0000
SIGCHLD = 17
TIOCSTI = 0x5412


def tried(act):
    """What became of something that was tried."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def call(number, *arguments):
    """What became of a system call."""
    words = [ctypes.c_long(argument) for argument in arguments]
    if LIBC.syscall(ctypes.c_long(number), *words) < 0:
        return errno.errorcode[ctypes.get_errno()]
    return "done"


def calls():
    words = NUMBERS[os.uname().machine].split()
    numbers = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    clone, found = numbers.pop("clone"), {}
    for name, number in numbers.items():
        arguments = (NEW_USER,) if name == "unshare" else (16, 1) if name == "ptrace" else ()
        found[name] = call(number, *arguments)
    return found | {"clone into a new user namespace": call(clone, NEW_USER | SIGCHLD, 0, 0, 0, 0)}


def requests():
    with socket.socket() as any_file:
        number = any_file.fileno()
        plain = call_ioctl(number, TIOCSTI)
        return {"TIOCSTI": plain, "TIOCSTI with a bit on top": call_ioctl(number, (1 << 32) | TIOCSTI)}


def call_ioctl(descriptor, request):
    return call({"x86_64": 16, "aarch64": 29}[os.uname().machine], descriptor, request, 0)


def execute_in(folder):
    path = f"{folder}/program"
    with open(path, "w") as file:
        os.fchmod(file.fileno(), 0o700)
        file.write("#!/bin/sh\nexit 0\n")
    if not os.fork():
        try:
            os.execv(path, [path])
        finally:
            os._exit(126)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    os.unlink(path)
    return "EACCES" if code == 126 else "done"


def fill(folder, size):
    path = f"{folder}/large"

    def write():
        with open(path, "wb", buffering=0) as file:
            while size > file.tell():
                file.write(bytes(1 << 20))

    said = tried(write)
    os.unlink(path)
    return said


def connect(address):
    with socket.socket() as out:
        out.settimeout(5)
        out.connect((address, 80))


def open_socket(family):
    socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_STREAM).close()


def write_to(path):
    with open(path, "w") as file:
        file.write("x")


def read_of(path):
    try:
        with open(path, "rb") as file:
            return len(file.read(1))
    except OSError as error:
        return errno.errorcode[error.errno]


def read_all(path):
    with open(path) as file:
        return file.read()


def devices():
    found = {}
    for folder, _, names in os.walk("/dev"):
        for name in names:
            mode = os.lstat(f"{folder}/{name}").st_mode
            if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
                found[f"{folder}/{name}"] = True
    return sorted(found)


def main(host_pid, *host_paths):
    with open("/proc/self/status") as file:
        status = {line.split(":")[0]: line.split(":")[1].strip() for line in file}
    with open("/proc/self/mountinfo") as file:
        mounts = {line.split()[4]: sorted(line.split()[5].split(",")) for line in file}
    kinds = "cgroup ipc mnt net pid user uts".split()
    facts = {
        "status": {name: status[name] for name in "NoNewPrivs Seccomp CapInh CapPrm CapEff CapBnd CapAmb".split()},
        "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds},
        "pid": os.getpid(),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "host name": socket.gethostname(),
        "host paths": [path for path in host_paths if os.path.exists(path)],
        "devices": devices(),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "mounts": mounts,
        "sys": os.listdir("/sys") if os.path.isdir("/sys") else [],
        "become root": tried(lambda: os.setresuid(0, 0, 0)),
        "write to /": tried(lambda: write_to("/x")),
        "write to /bin": tried(lambda: write_to("/bin/x")),
        "write to /dev": tried(lambda: write_to("/dev/x")),
        "write to /proc/sys": tried(lambda: write_to("/proc/sys/kernel/hostname")),
        "write to /proc/sysrq-trigger": tried(lambda: write_to("/proc/sysrq-trigger")),
        "make a device": tried(lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))),
        "execute in /tmp": execute_in("/tmp"),
        "execute in /data": execute_in("/data"),
        "execute in /data/work": execute_in("/data/work"),
        "fill /tmp": fill("/tmp", 1 << 30),
        "kcore": read_of("/proc/kcore"),
        "keys": read_of("/proc/keys"),
        "timers": read_of("/proc/timer_list"),
        "memory of the machine": read_of("/dev/mem"),
        "signal the host": tried(lambda: os.kill(int(host_pid), 0)),
        "reach metadata": tried(lambda: connect("169.254.169.254")),
        "reach the host": tried(lambda: connect("192.0.2.1")),
        "sockets": {
            name: tried(lambda f=f: open_socket(f)) for name, f in (("vsock", 40), ("alg", 38), ("packet", 17))
        },
        "environment": dict(os.environ),
        "out of memory score": read_all("/proc/self/oom_score_adj").strip(),
        "calls": calls(),
        "requests": requests(),
    }
    sys.stdout.write(json.dumps(facts))


main(*sys.argv[1:])
