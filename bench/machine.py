"""This machine: its mirror, its packages, and what a command costs on it."""

import atexit
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = Path(os.environ.get("BENCH_DIR", ROOT / "target/bench")).resolve()


@dataclass
class Command:
    """What to run; `output` is the artifact whose size is told."""

    words: list
    output: Path
    folder: Path


@dataclass
class Run:
    seconds: float
    memory: int
    written: int
    output: int


def prepare(packages):
    missing = [name for name, program in packages.items() if not there(program)]
    if missing:
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True, stdout=sys.stderr)
    WORK.mkdir(parents=True, exist_ok=True)


def there(program):
    return os.path.exists(program) or shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def kiln():
    """Returns the binary to time."""
    if "KILN" in os.environ:
        return str(Path(os.environ["KILN"]).resolve())
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "kiln"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "release/kiln")


QEMU = {"arm64": "aarch64", "armhf": "arm", "riscv64": "riscv64"}


def register(architecture):
    """Has the kernel run another architecture's programs in the emulator, as Debian's packages do where systemd starts them."""
    folder = Path("/proc/sys/fs/binfmt_misc")
    if not (folder / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", folder], check=True)
    if not (folder / f"qemu-{QEMU[architecture]}").exists():
        subprocess.run(["update-binfmts", "--enable", f"qemu-{QEMU[architecture]}"], check=True)


def redis():
    """Starts a Redis that ends with this program; returns its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    atexit.register(server.kill)
    for _ in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return port
        time.sleep(0.05)
    sys.exit("redis-server does not come up")


def mirror():
    """Returns Debian's archive as this host's apt knows it, else the official one."""
    if "MIRROR" in os.environ:
        return os.environ["MIRROR"]
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources") + ["/etc/apt/sources.list"]):
        text = Path(path).read_text() if os.path.exists(path) else ""
        found = re.search(r"^(?:URIs:|deb)\s+(?:\[.*?\]\s+)?(https?://\S+/debian)/?(?:\s|$)", text, re.M)
        if found:
            return found.group(1)
    return "http://ftp.debian.org/debian"


def timed(command, environment):
    """Runs a command below a process of its own, so that what it cost is known when it ends."""
    os.sync()
    log = open(WORK / "log", "wb")
    runner = [sys.executable, "-c", COUNT, *map(str, command.words)]
    process = subprocess.Popen(
        runner, cwd=command.folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=log, text=True,
    )
    peak = Peak(process.pid)
    report, _ = process.communicate()
    peak.stop()
    if process.returncode:
        sys.exit(f"`{' '.join(map(str, command.words))}` failed:\n{(WORK / 'log').read_text()[-2000:]}")
    seconds, written = report.split()
    return Run(float(seconds), peak.highest, int(written), size(command.output))


# Waits for the command; tells the seconds, and the bytes it and all below it sent to the disk. The kernel adds a process's
# bytes to whoever waits for it, so processes whose parent went before them are taken over (36: PR_SET_CHILD_SUBREAPER) and
# waited for too. Bytes that were deleted before they reached the disk are `cancelled`.
COUNT = """
import ctypes, os, re, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
seconds = time.monotonic() - began
try:
    while os.waitpid(-1, os.WNOHANG)[0]:
        pass
except ChildProcessError:
    pass
told = dict(re.findall(r"^(\\w+): (\\d+)", open("/proc/self/io").read(), re.M))
print(seconds, int(told["write_bytes"]) - int(told["cancelled_write_bytes"]))
sys.exit(done.returncode)
"""


class Peak(threading.Thread):
    """Samples the memory of everything below a process."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.highest, self.going = pid, 0, True
        self.start()

    def run(self):
        while self.going:
            below = family(self.pid)
            if sum(map(resident, below)) > self.highest:
                self.highest = max(self.highest, sum(map(memory, below)))
            time.sleep(0.02)

    def stop(self):
        self.going = False
        self.join()


def family(pid):
    """Returns the descendants of a process."""
    found, ahead = [], [pid]
    while ahead:
        for path in glob.glob(f"/proc/{ahead.pop()}/task/*/children"):
            children = told(path).split()
            found += children
            ahead += children
    return found


def resident(pid):
    """Returns at least what `memory` does: cheap, but what a process shares with its forks counts for each."""
    return kilobytes(r"^Rss(?:Anon|Shmem):", told(f"/proc/{pid}/status"))


def memory(pid):
    """Returns a process's share of anonymous and shared memory, in bytes."""
    return kilobytes(r"^Pss_(?:Anon|Shmem):", told(f"/proc/{pid}/smaps_rollup"))


def kilobytes(which, text):
    return 1024 * sum(int(kb) for kb in re.findall(which + r"\s+(\d+)", text, re.M))


def told(path):
    """Returns what the kernel says of a process; nothing when it is gone."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def size(path):
    """Returns the bytes a file takes on the disk; images are sparse."""
    return path.stat().st_blocks * 512 if path.exists() else 0


def empty(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
