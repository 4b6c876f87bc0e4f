"""This machine: its mirror, its packages, and what a command costs on it."""

import glob
import os
import re
import shutil
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
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def kiln():
    """Returns the binary to time."""
    if "KILN" in os.environ:
        return os.environ["KILN"]
    subprocess.run(["cargo", "build", "--release", "--quiet", "--package", "kiln"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "release/kiln")


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
    """Runs a command in a process of its own, so that what it cost is known when it ends."""
    os.sync()
    log = open(WORK / "log", "wb")
    began = time.monotonic()
    runner = [sys.executable, "-c", COUNT, *map(str, command.words)]
    process = subprocess.Popen(
        runner, cwd=command.folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=log, text=True,
    )
    peak = Peak(process.pid)
    told, _ = process.communicate()
    seconds = time.monotonic() - began
    peak.stop()
    if process.returncode:
        sys.exit(f"`{' '.join(map(str, command.words))}` failed:\n{(WORK / 'log').read_text()[-2000:]}")
    return Run(seconds, peak.highest, int(told), size(command.output))


# Waits for the command and tells how many bytes it and all it waited for sent to the disk.
COUNT = """
import re, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(re.search(r"^write_bytes: (\\d+)", open("/proc/self/io").read(), re.M).group(1))
sys.exit(done.returncode)
"""


class Peak(threading.Thread):
    """Samples the memory of a process and of everything below it."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.highest, self.going = pid, 0, True
        self.start()

    def run(self):
        while self.going:
            self.highest = max(self.highest, sum(map(memory, family(self.pid))))
            time.sleep(0.02)

    def stop(self):
        self.going = False
        self.join()


def family(pid):
    """Returns the descendants of a process."""
    parents = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            child, rest = Path(path).read_text().split(" ", 1)
            parents.setdefault(int(rest.rsplit(")", 1)[1].split()[1]), []).append(int(child))
        except (OSError, ValueError, IndexError):
            continue
    found, ahead = [], [pid]
    while ahead:
        children = parents.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


def memory(pid):
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return 1024 * sum(int(kb) for kb in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+)", text, re.M))


def size(path):
    """Returns the bytes a file takes on the disk; images are sparse."""
    return path.stat().st_blocks * 512 if path.exists() else 0


def empty(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
