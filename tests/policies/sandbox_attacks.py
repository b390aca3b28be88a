"""Ways out of a sandbox, each a function that returns what it got; text of test_sandbox.py, run as a program inside.

``MACHINE`` is written before this text: the machine's secret file, sockets, folders and key. Each does no harm where
nothing confines it: it looks, or makes something small that goes with its process; it mounts, stops and loads nothing.
"""
# ruff: noqa

import ctypes
import errno
import fcntl
import glob
import json
import mmap
import os
import platform
import resource
import socket
import subprocess
import sys
import termios

MACHINE: dict
ATTACKS = []
libc = ctypes.CDLL(None, use_errno=True)


def attack(function):
    """Outside the sandbox only those run that look at the machine and change nothing of it."""
    if "looking" not in MACHINE or function.__name__.startswith(("read_", "see_", "connect_", "belong_", "look_")):
        ATTACKS.append(function)
    return function


def reading(path):
    with open(path, "rb") as file:
        return file.read(200).decode(errors="replace")


def writing(path):
    """Whether a file can be left there; it is taken away again."""
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)
    return "written"


def asking(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(3)
        client.connect(address)
        return client.recv(100).decode()


def calling(name, *arguments):
    """A system call by its name; "done" if the kernel let it through."""
    return "done" if getattr(libc, name)(*arguments) == 0 else ""


@attack
def read_a_file_of_the_machine():
    return reading(MACHINE["file"])


@attack
def read_the_list_of_users():
    return reading("/etc/passwd")


@attack
def read_the_password_hashes():
    return reading("/etc/shadow")


@attack
def read_the_machines_name():
    return "" if socket.gethostname() == "gate" else socket.gethostname()


@attack
def read_the_hosts_file():
    return reading("/etc/hosts")


@attack
def read_homes():
    return " ".join(glob.glob("/home/*") + [path for path in glob.glob("/root/.*") if not path.endswith("pyenv")])


@attack
def read_the_repository_that_is_installed():
    return reading(f"{MACHINE['repository']}/pyproject.toml")


@attack
def read_git():
    return reading(f"{MACHINE['repository']}/.git/HEAD")


@attack
def read_a_token_in_the_environment():
    return os.environ.get("EBBTIDE_TEST_TOKEN", "")


@attack
def read_the_environment_of_others():
    files = [file for file in glob.glob("/proc/[0-9]*/environ") if b"EBBTIDE_TEST_TOKEN" in open(file, "rb").read()]
    return " ".join(files)


@attack
def see_other_processes():
    return " ".join(glob.glob("/proc/[0-9]*"))


@attack
def signal_other_processes():
    pids = []
    for pid in range(1, 5000):
        try:
            os.kill(pid, 0)
        except OSError:
            continue
        if pid not in (1, 2, 3, 4, os.getpid(), os.getppid()):  # bubblewrap's own and this one
            pids.append(str(pid))
    return " ".join(pids)


@attack
def connect_by_tcp():
    return asking(socket.AF_INET, ("127.0.0.1", int(MACHINE["port"])))


@attack
def connect_to_a_socket_of_the_machine():
    return asking(socket.AF_UNIX, MACHINE["socket"])


@attack
def connect_to_an_abstract_socket():
    return asking(socket.AF_UNIX, MACHINE["abstract"])


@attack
def see_a_network():
    return " ".join(name for _, name in socket.if_nameindex() if name != "lo")


@attack
def send_a_datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("192.0.2.1", 53))
        return client.getsockname()[0]


@attack
def look_up_a_name():
    return str(socket.getaddrinfo("localhost.localdomain", 53))


@attack
def leave_a_file_on_the_machine():
    with open(f"{MACHINE['folder']}/left", "w") as file:
        file.write("x")
    return "written"


@attack
def write_to_the_tree():
    with open(os.path.join(sys.argv[1], "left"), "w") as file:
        file.write("x")
    return "written"


@attack
def write_to_the_environment_of_python():
    return writing(os.path.join(sys.prefix, "lib", "left"))


@attack
def write_to_shared_memory():
    return writing("/dev/shm/ebbtide-left")


@attack
def write_beside_it():
    return writing("/var/tmp/ebbtide-left")


@attack
def write_to_the_root():
    return writing("/ebbtide-left")


@attack
def become_root():
    return "done" if os.getuid() == 0 else calling("setuid", 0)


@attack
def mount_a_file_system():
    return calling("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None)


@attack
def make_namespaces():
    return calling("unshare", 0x10000000 | 0x00020000)  # CLONE_NEWUSER | CLONE_NEWNS


@attack
def make_a_device():
    path = "/tmp/ebbtide-device"
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 1))
    os.unlink(path)
    return "made"


@attack
def change_the_root():
    return calling("chroot", b"/tmp")


@attack
def set_the_machines_name():
    name = socket.gethostname().encode()
    return calling("sethostname", name, len(name))


@attack
def enter_the_namespace_of_others():
    return calling("setns", os.open("/proc/1/ns/net", os.O_RDONLY), 0)


@attack
def run_a_program_of_the_machine():
    return subprocess.run(["/bin/sh", "-c", "id"], capture_output=True, timeout=5).stdout.decode()


@attack
def run_a_program_with_more_rights():
    programs = [path for path in ("/bin/su", "/usr/bin/sudo", "/usr/bin/mount") if os.path.exists(path)]
    return " ".join(programs)


@attack
def type_on_the_terminal():
    with open("/dev/tty", "rb") as terminal:
        fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
    return "typed"


@attack
def read_open_files_of_the_judge():
    open_files = []
    for number in range(3, 200):
        try:
            info = os.fstat(number)
        except OSError:
            continue
        if number != int(sys.argv[3]) and not os.path.isdir(f"/proc/self/fd/{number}"):
            open_files.append(f"{number}:{info.st_ino}")
    return " ".join(open_files)


@attack
def belong_to_groups():
    return " ".join(str(group) for group in os.getgroups() if group != 65534)


@attack
def raise_its_limits():
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY:
        return "without a limit"
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard + 1000))
    return "raised"


@attack
def read_kernel_messages():
    return reading("/dev/kmsg") or reading("/proc/kmsg")


@attack
def read_what_the_kernel_shows_of_the_machine():
    return " ".join(glob.glob("/sys/*"))


# What a filter of system calls closes.

X86 = platform.machine() == "x86_64"
# Calls that Python can do without, by their numbers on x86_64 and aarch64, each with arguments that the kernel refuses.
CALLS = {
    "ptrace": (101, 117, -1, 0, 0, 0),
    "process_vm_readv": (310, 270, 0, None, 0, None, 0, 1),
    "kcmp": (312, 272, 0, 0, 99, 0, 0),
    "pidfd_getfd": (438, 438, -1, -1, 0),
    "add_key": (248, 217, None, None, None, 0, 0),
    "request_key": (249, 218, None, None, None, 0),
    "keyctl": (250, 219, 9999, 0, 0, 0, 0),
    "io_uring_setup": (425, 425, 0, None),
    "io_uring_enter": (426, 426, -1, 0, 0, 0, None, 0),
    "bpf": (321, 280, -1, None, 0),
    "perf_event_open": (298, 241, None, -1, -1, -1, 0),
    "userfaultfd": (323, 282, -1),
    "fsopen": (430, 430, None, 0),
    "open_tree": (428, 428, -1, None, -1),
    "move_mount": (429, 429, -1, None, -1, None, -1),
    "mount_setattr": (442, 442, -1, None, -1, None, 0),
    "setns": (308, 268, -1, 0),
    "unshare": (272, 97, 1),
    "clone3": (435, 435, None, 0),
    "personality": (135, 92, 0xFFFFFFFF),
    "seccomp": (317, 277, -1, 0, None),
    "memfd_create": (319, 279, None, 0),
    "mq_open": (240, 180, None, 0, 0, None),
    "shmget": (29, 194, 0, 0, 0),
    "msgget": (68, 186, 1, 0),
    "inotify_init1": (294, 26, -1),
    "fanotify_init": (300, 262, -1, 0),
    "open_by_handle_at": (304, 265, -1, None, 0),
    "process_madvise": (440, 440, -1, None, 0, 0, -1),
    "modify_ldt": (154, None, 99, None, 0),
}


def kernel(name, *arguments):
    """A system call by its number; raises what the kernel answers."""
    x86, arm, *refused = CALLS[name]
    number = x86 if X86 else arm
    if number is None:
        raise OSError("not of this architecture")
    # every argument is a whole register; None is a null pointer
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in (arguments or refused)]
    libc.syscall.restype = ctypes.c_long
    answer = libc.syscall(ctypes.c_long(number), *values)
    if answer == -1:
        raise OSError(ctypes.get_errno(), name)
    return answer


@attack
def look_which_calls_reach_the_kernel():
    reached = []
    for name in CALLS:
        try:
            kernel(name)
        except OSError as refused:
            if refused.errno in (errno.ENOSYS, None):
                continue
        reached.append(name)
    return " ".join(reached)


@attack
def read_a_key_of_the_caller():
    serial = kernel("keyctl", 10, -3, b"user", MACHINE["key"].encode(), 0)  # KEYCTL_SEARCH in the session's keyring
    text = ctypes.create_string_buffer(100)
    length = kernel("keyctl", 11, serial, text, 100, 0)  # KEYCTL_READ
    return text.raw[:length].decode()


@attack
def see_the_keyring_of_the_caller():
    return str(kernel("keyctl", 0, -3, 0, 0, 0))  # KEYCTL_GET_KEYRING_ID


@attack
def look_for_sockets_of_other_families():
    """Of the network, the kernel (netlink), the host of a virtual machine (vsock), its cryptography and devices."""
    families = []
    for family in range(2, 46):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
            except OSError:
                continue
            families.append(str(family))
            break
    return " ".join(families)


@attack
def look_for_the_host_of_the_virtual_machine():
    with socket.socket(40, socket.SOCK_STREAM):  # AF_VSOCK
        return "a vsock"


@attack
def set_up_io_uring():
    os.close(kernel("io_uring_setup", 1, ctypes.create_string_buffer(120)))
    return "done"


@attack
def be_traced():
    child = os.fork()
    if not child:
        os._exit(0 if libc.ptrace(0, 0, None, None) == 0 else 1)  # PTRACE_TRACEME
    return "done" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 else ""


@attack
def look_into_the_memory_of_a_process():
    held, taken = ctypes.create_string_buffer(b"held"), ctypes.create_string_buffer(5)
    there, here = ((ctypes.c_ulong * 2)(ctypes.addressof(each), 5) for each in (held, taken))
    kernel("process_vm_readv", os.getpid(), here, 1, there, 1, 0)
    return taken.value.decode()


@attack
def make_a_user_namespace():
    child = libc.syscall(ctypes.c_long(56 if X86 else 220), ctypes.c_ulong(0x10000000 | 17), None, None, None, None)
    if child == 0:
        os._exit(0)
    return "made" if child > 0 and os.waitpid(child, 0) else ""


@attack
def call_as_a_program_of_32_bits():
    """Calls getpid by its number of i386, in a child: where the kernel has no such calls it ends by a signal."""
    if not X86:
        return ""
    child = os.fork()
    if not child:
        code = mmap.mmap(
            -1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        )
        code.write(b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3")  # push ebx, eax = 20, int 0x80, pop, return
        called = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
        os._exit(0 if called > 0 else 1)
    return "done" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 else ""


@attack
def keep_memory_in_a_file_without_a_name():
    os.close(os.memfd_create("kept"))
    return "kept"


@attack
def keep_memory_that_is_shared():
    mmap.mmap(-1, 4096, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS).close()
    return "kept"


@attack
def keep_memory_in_a_segment():
    segment = kernel("shmget", 0, 4096, 0o600)
    libc.shmctl(segment, 0, None)  # IPC_RMID: it goes with the process
    return "kept"


@attack
def keep_memory_in_locks():
    with open("/tmp/ebbtide-locked", "w") as file:
        os.unlink(file.name)
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
    return "kept"


@attack
def keep_more_memory_in_a_socket():
    near, far = socket.socketpair()
    with near, far:
        before = near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, before)  # the kernel doubles it
        return "kept" if near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > before else ""


@attack
def keep_more_memory_in_a_pipe():
    reader, writer = os.pipe()
    try:
        return str(fcntl.fcntl(writer, 1031, 2**17))  # F_SETPIPE_SZ
    finally:
        os.close(reader)
        os.close(writer)


@attack
def hide_what_it_takes():
    return calling("prctl", 4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


@attack
def change_the_limit_on_core_dumps():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return "changed"


def main():
    got = []
    for each in ATTACKS:
        try:
            what = each()
        except BaseException:
            what = ""
        got.append({"urn": each.__name__, "type": "attack", "name": each.__name__, "inputs": {"got": what}})
    with open(int(sys.argv[3]), "wb") as file:
        file.write(json.dumps({"graph": got}).encode())
    os._exit(0)
