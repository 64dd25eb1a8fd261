"""Namespaces for guests: users, processes, files, network, messages.

`close_off` does for the host what all guests share, once; `enter` gives one guest its own.
"""

import os
import platform

from support.sandbox._guest import CALLS, SET_DUMPABLE, checked

NOBODY = 65534
NEW_NS, NEW_UTS, NEW_IPC, NEW_USER = 0x20000, 0x4000000, 0x8000000, 0x10000000
NEW_PID, NEW_NET = 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    names = [text.encode() or None for text in (source, target, kind)]
    checked("mount", *names, flags, data.encode() or None)


def _map_users(proc: int, inside: int, user: int, group: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside} {user} 1"),
        ("gid_map", f"{inside} {group} 1"),
    ):
        fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        os.write(fd, text.encode())
        os.close(fd)


def _show(path: str, more: int = 0) -> None:
    """Bind a path of the old root, read-only; a symbolic link stays one."""
    old = "/old" + path
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(old):
        os.symlink(os.readlink(old), path)
        return
    if os.path.isdir(old):
        os.makedirs(path, exist_ok=True)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    _mount(old, path, "", BIND | REC)
    # The flags that the mount has already must stay.
    has = os.statvfs(path).f_flag
    flags = has & (NOSUID | NODEV | 8 | 1024 | 2048) | ((has & 4096) << 9)
    _mount("", path, "", REMOUNT | BIND | RDONLY | NOSUID | flags | more)


def close_off() -> int:
    """No network, no file but Python's, no privilege; a descriptor of /proc for what follows."""
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    user, group = os.geteuid(), os.getegid()
    others = NEW_NS | NEW_NET | NEW_IPC | NEW_UTS
    checked("unshare", others if user == 0 else others | NEW_USER)
    if user != 0:
        _map_users(proc, NOBODY, user, group)
    _mount("", "/", "", REC | PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    os.mkdir("/tmp/old")
    checked("syscall", CALLS[platform.machine()][2][0], b"/tmp", b"/tmp/old")
    os.chdir("/")
    own = os.path.dirname(os.path.dirname(os.path.realpath(os.__file__)))
    for path in dict.fromkeys((own, *LIBRARIES)):
        if os.path.exists("/old" + path) and not os.path.exists(path):
            _show(path, NODEV)
    for path in DEVICES:
        _show(path)
    os.mkdir("/tmp")
    checked("umount2", b"/old", 2)  # MNT_DETACH
    os.rmdir("/old")
    _mount("", "/", "", REMOUNT | BIND | RDONLY | NOSUID | NODEV)
    if user == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        checked("prctl", SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self belongs to root
    return proc


def enter(proc: int, disk_bytes: int) -> None:
    """Namespaces of a guest's own, with an empty /tmp of so many bytes."""
    user, group = os.geteuid(), os.getegid()
    # With messages and semaphores of its own, it leaves nothing to the guest after it.
    checked("unshare", NEW_USER | NEW_NS | NEW_PID | NEW_IPC)
    _map_users(proc, NOBODY, user, group)
    _mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, f"size={disk_bytes},nr_inodes=1000,mode=700")
