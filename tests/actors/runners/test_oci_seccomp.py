import re

import pytest

from runtara.actors.runners._oci_seccomp import ALLOWED, ARCHITECTURES, NEW_NAMESPACES, profile_of

NEVER = """
    acct add_key bpf chroot clock_settime delete_module finit_module fsconfig fsmount fsopen fspick init_module
    io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl
    lookup_dcookie mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at
    open_tree perf_event_open pidfd_getfd pivot_root process_vm_readv process_vm_writev ptrace quotactl reboot
    request_key setdomainname sethostname setns settimeofday swapoff swapon syslog umount umount2 unshare
    userfaultfd vhangup
""".split()


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_is_not_named_is_refused_and_only_the_machines_own_calls_are_looked_at(machine: str) -> None:
    profile = profile_of(machine)

    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert profile["architectures"] == [ARCHITECTURES[machine]]


@pytest.mark.parametrize("name", NEVER)
def test_what_leads_out_is_on_no_list(name: str) -> None:
    assert not [rule for rule in profile_of("x86_64")["syscalls"] if name in rule["names"]]


def test_every_call_is_named_once() -> None:
    assert len(set(ALLOWED)) == len(ALLOWED)
    assert all(re.fullmatch(r"[a-z_0-9]+", name) for name in ALLOWED)


def test_clone_makes_no_namespace_and_clone3_is_said_not_to_exist() -> None:
    rules = {rule["names"][0]: rule for rule in profile_of("x86_64")["syscalls"][1:]}

    assert rules["clone"]["args"] == [{"index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert (rules["clone3"]["action"], rules["clone3"]["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize("request_number", [0x5412, 0x541C, 0x1_0000_5412, 0xFFFF_FFFF_0000_541C])
def test_typing_for_somebody_else_is_refused_whatever_is_put_on_top(request_number: int) -> None:
    assert not is_allowed(request_number)


@pytest.mark.parametrize("request_number", [0x5401, 0x5413, 0x541B, 0x541D, 0x5412 | 1 << 31, 0, 0xFFFF_FFFF, 0x5421])
def test_every_other_request_is_allowed(request_number: int) -> None:
    assert is_allowed(request_number)


def is_allowed(request_number: int) -> bool:
    """Whether a rule lets a request of ioctl pass, by the kernel's own reading of it."""
    rules = [rule["args"][0] for rule in profile_of("x86_64")["syscalls"] if rule["names"] == ["ioctl"]]
    return any(request_number & rule["value"] == rule["valueTwo"] for rule in rules if rule["index"] == 1)
