"""A current mkosi, in a Debian of its own: it wants a newer Python and newer systemd tools than a stable host may have."""

import os
import subprocess
import sys

from machine import WORK, Command, empty, mirror, timed

SUITE = os.environ.get("MKOSI_SUITE", "trixie")
PACKAGES = "ca-certificates,mkosi,mount"
HOME = WORK / f"mkosi-{SUITE}"

# The tree becomes the root of a mount namespace. A chroot would not do: mkosi makes user namespaces, which the kernel
# refuses to whoever is in one.
INSIDE = """
tree=$1 folder=$2; shift 2
mount --bind "$tree" "$tree"
cd "$tree"
for part in dev proc sys; do mount --rbind /$part $part; done
mount -t tmpfs run run
mkdir -p host ".$folder"
mount --bind "$folder" ".$folder"
cat /etc/resolv.conf > etc/resolv.conf
pivot_root . host
umount -l /host
cd "$folder/recipe"
exec "$@"
"""


class Mkosi:
    """The same disk; `MKOSI` names a program of this host instead."""

    name, environment = "mkosi", {}

    def __init__(self):
        self.folder = WORK / "disk-mkosi"
        self.image = self.folder / "out/image.raw"
        for part in ("recipe", "packages", "cache", "out"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.program = [os.environ["MKOSI"]] if "MKOSI" in os.environ else self.housed()
        subprocess.run([*self.program, "--version"], cwd=self.folder / "recipe", stdout=sys.stderr, check=True)

    def housed(self):
        """Returns the command that runs mkosi in its tree, and makes the tree."""
        if not HOME.exists():
            made = empty(HOME.with_suffix(".new"))
            # Mirrors may keep sid for longer than it says it is valid; it is still signed.
            late = '--aptopt=Acquire::Check-Valid-Until "false"'
            words = ["mmdebstrap", "--variant=apt", late, f"--include={PACKAGES}", SUITE, made, mirror()]
            subprocess.run(words, check=True)
            made.rename(HOME)
        unshare = ["unshare", "--mount", "--propagation=private", "sh", "-euc", INSIDE, "sh"]
        return [*unshare, HOME, self.folder, "mkosi"]

    def ready(self, state, number):
        self.recipe(f"bench-{number}" if state == "hostname" else "bench")
        for part in {"cold": ["packages", "cache", "work"], "warm": ["cache", "work"], "hostname": ["work"]}[state]:
            empty(self.folder / part)
        if state == "hostname" and number == 0:
            self.fill()
        return self.build(*["--incremental"] * (state == "hostname"))

    def build(self, *options):
        return Command([*self.program, "--force", *options, "build"], self.image, self.folder / "recipe")

    def fill(self):
        """Brings about the incremental cache; keeping it would only slow the other states down."""
        self.recipe("bench")
        timed(self.build("--incremental"), self.environment)
        self.recipe("bench-0")

    def recipe(self, hostname):
        sources = self.folder / "recipe/mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources"
        sources.parent.mkdir(parents=True, exist_ok=True)
        sources.write_text(SOURCES.format(mirror=mirror()))
        (self.folder / "recipe/mkosi.conf").write_text(RECIPE.format(mirror=mirror(), hostname=hostname))


# What kiln reads too. Left alone, mkosi adds sources, debug packages and translations; few mirrors have them all.
SOURCES = """\
Types: deb
URIs: {mirror}
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Languages: none

Types: deb
URIs: {mirror}-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Languages: none
"""

# Signed is the systemd-boot that Debian 13 installs; it has no signed unified kernels. The workspace is beside the output,
# because across mounts mkosi copies instead of renaming.
RECIPE = """\
[Distribution]
Distribution=debian
Release=trixie
Mirror={mirror}

[Output]
Format=disk
Output=image
OutputDirectory=../out
SplitArtifacts=

[Build]
CacheDirectory=../cache
PackageCacheDirectory=../packages
WorkspaceDirectory=../work

[Content]
Bootable=yes
Bootloader=systemd-boot-signed
UnifiedKernelImages=no
KernelCommandLine=console=ttyS0 systemd.firstboot=off
Hostname={hostname}
Packages=
    apt
    dbus
    linux-image-amd64
    openssh-server
    systemd
    systemd-boot
    systemd-sysv
    udev
"""
