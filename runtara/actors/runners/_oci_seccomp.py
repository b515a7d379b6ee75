"""Which system calls a container may make: an allow-list, as data for the runtime.

What is not on the list fails with "not permitted". So does what only root of a host needs (mounts, namespaces, modules,
clocks), what looks into other processes (ptrace and its kin), what has been the way out of many a container (keyrings,
bpf, perf events, userfaultfd, io_uring), and every call of another architecture than the machine's own. What is new to
the kernel is off the list until somebody has thought about it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["ALLOWED", "ARCHITECTURES", "NEW_NAMESPACES", "profile_of"]

ARCHITECTURES: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
"""Machines by their own name for themselves, and the runtime's. Calls in 32 bits, and x32's, are not among them."""

ALLOWED: Final = tuple(
    """
    _llseek _newselect accept accept4 access alarm bind brk cachestat capget capset chdir chmod chown clock_getres
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group
    faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl
    fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex
    futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents
    getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority
    getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
    getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_setup io_submit ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr
    lstat madvise map_shadow_stack membarrier memfd_create mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
    mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget
    msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2
    prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg
    remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
    select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_thread_area
    set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid
    setreuid setrlimit setsid setsockopt setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd
    signalfd4 socketpair splice stat statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill
    time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
    timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4
    waitid waitpid write writev
    """.split()
)
"""May be made with any arguments."""

_OF_MACHINES: Final[Mapping[str, tuple[str, ...]]] = {"x86_64": ("arch_prctl", "modify_ldt"), "aarch64": ()}

NEW_NAMESPACES: Final = 0x7E02_0000
"""The flags of ``clone`` that ask for a new namespace, all together."""

_WHOLE_WORD: Final = 0xFFFF_FFFF
"""The kernel looks at 32 bits of these arguments, and so must we: else a bit above them would hide the rest."""
_PERSONALITIES: Final = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)
_FAMILIES: Final = (1, 2, 10, 16)
"""Kinds of sockets: Unix, IPv4, IPv6, netlink."""
_TERMINAL_REQUESTS: Final = 0x5410
"""What the two forbidden requests of ``ioctl`` begin with, TIOCSTI (0x5412) and TIOCLINUX (0x541C): they type for
somebody else."""
_FORBIDDEN_ENDS: Final = (0x2, 0xC)
_EPERM, _ENOSYS = 1, 38


def profile_of(machine: str) -> dict[str, Any]:  # Any: JSON
    """Return the profile for a machine, as ``linux.seccomp`` of a bundle. Raises `KeyError` for an unknown one."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": [ARCHITECTURES[machine]],
        "syscalls": [
            _allow(*ALLOWED, *_OF_MACHINES[machine]),
            _allow("clone", mask=NEW_NAMESPACES, value=0),
            # Its flags lie in memory, where no filter can look; libraries then use `clone`.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
            *(_allow("personality", value=value) for value in _PERSONALITIES),
            *(_allow("socket", value=value) for value in _FAMILIES),
            *_requests(),
        ],
    }


def _requests() -> Iterator[dict[str, Any]]:
    """Every request of ``ioctl`` but two: each differs from them in a bit of their common part, or in the rest."""
    for bit in (1 << place for place in range(4, 32)):
        yield _allow("ioctl", index=1, mask=bit, value=bit & ~_TERMINAL_REQUESTS)
    for last in range(16):
        if last not in _FORBIDDEN_ENDS:
            yield _allow("ioctl", index=1, value=_TERMINAL_REQUESTS | last)


def _allow(*names: str, index: int = 0, mask: int = _WHOLE_WORD, value: int | None = None) -> dict[str, Any]:
    """Allow calls; with a `value`, only where the argument has it in the bits of the mask."""
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    if value is not None:
        rule["args"] = [{"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}]
    return rule
