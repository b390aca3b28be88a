"""Ways out of a sandbox, each a function that returns what it got; text of test_sandbox.py, run as a program inside.

``MACHINE`` is written before this text: the machine's secret file, sockets and folders.
"""
# ruff: noqa

import ctypes
import fcntl
import glob
import json
import os
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
    found = [file for file in glob.glob("/proc/[0-9]*/environ") if b"EBBTIDE_TEST_TOKEN" in open(file, "rb").read()]
    return " ".join(found)


@attack
def see_other_processes():
    return " ".join(glob.glob("/proc/[0-9]*"))


@attack
def signal_other_processes():
    found = []
    for pid in range(1, 5000):
        try:
            os.kill(pid, 0)
        except OSError:
            continue
        if pid not in (1, 2, 3, 4, os.getpid(), os.getppid()):  # bubblewrap's own and this one
            found.append(str(pid))
    return " ".join(found)


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
    found = [path for path in ("/bin/su", "/usr/bin/sudo", "/usr/bin/mount") if os.path.exists(path)]
    return " ".join(found)


@attack
def type_on_the_terminal():
    with open("/dev/tty", "rb") as terminal:
        fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
    return "typed"


@attack
def read_open_files_of_the_judge():
    found = []
    for number in range(3, 200):
        try:
            info = os.fstat(number)
        except OSError:
            continue
        if number != int(sys.argv[3]) and not os.path.isdir(f"/proc/self/fd/{number}"):
            found.append(f"{number}:{info.st_ino}")
    return " ".join(found)


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
