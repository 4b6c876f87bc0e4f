"""Whether an image boots: in QEMU with UEFI and without KVM, to the login prompt on its serial console."""

import shutil
import subprocess
import sys
import time

from machine import WORK, prepare

CODE, VARIABLES = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
PATIENCE = 900


def boot(image):
    """Tells the seconds to the prompt, or ends the program. The image is not changed."""
    prepare({"qemu-system-x86": "qemu-system-x86_64", "ovmf": CODE})
    console, variables = WORK / "console", WORK / "variables.fd"
    console.unlink(missing_ok=True)
    shutil.copy(VARIABLES, variables)
    words = [
        "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-m", "2G", "-display", "none", "-no-reboot",
        "-serial", f"file:{console}",
        "-drive", f"if=pflash,format=raw,readonly=on,file={CODE}", "-drive", f"if=pflash,format=raw,file={variables}",
        "-drive", f"if=virtio,format=raw,snapshot=on,file={image}",
    ]
    began = time.monotonic()
    machine = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    try:
        found = prompt(machine, console, began + PATIENCE)
    finally:
        machine.kill(), machine.wait()
    if not found:
        sys.exit(f"`{image}` reaches no login prompt; its console is `{console}`")
    print(f"{image.name} reached its login prompt in {time.monotonic() - began:.0f} s", file=sys.stderr)


def prompt(machine, console, end):
    while machine.poll() is None and time.monotonic() < end:
        if console.exists() and b" login: " in console.read_bytes():
            return True
        time.sleep(0.5)
    return False
