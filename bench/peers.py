"""What is timed: kiln and its peers, each in the states cold, warm and hostname."""

from machine import ROOT, WORK as FOLDER, Command, empty, kiln, mirror, redis, register
from mkosi import Mkosi

# Debian package → the program that tells it is there.
PACKAGES = {
    "debootstrap": "debootstrap",
    "mmdebstrap": "mmdebstrap",
    "qemu-user-static": "qemu-aarch64-static",
    "binfmt-support": "update-binfmts",
    "arch-test": "arch-test",
    "redis-server": "redis-server",
}

SUITE = "trixie"

# An architecture that this machine does not run by itself.
FOREIGN = "arm64"


class Subject:
    """Something that makes an image; `ready` brings about a state and returns the command."""

    environment = {}

    def __init__(self):
        self.folder = FOLDER / f"{self.work}-{self.name}"
        self.folder.mkdir(parents=True, exist_ok=True)


class Kiln(Subject):
    name = "kiln"

    def __init__(self):
        super().__init__()
        self.program = kiln()
        self.environment = {"KILN_CACHE": str(self.folder / "cache"), "KILN_MIRROR_DEBIAN": mirror()}

    def ready(self, state, number):
        recipe = self.folder / "image.toml"
        text = (ROOT / "examples" / self.recipe).read_text()
        name = f"bench-{number}" if state == "hostname" else "bench"
        recipe.write_text(text + f'\n[system]\nhostname = "{name}"\n')
        self.image = self.folder / "out" / self.output
        words = [self.program, "build", recipe, "--plain", "--no-verify", "--out", self.image.parent]
        if state != "hostname":
            recipe.with_suffix(".lock").unlink(missing_ok=True)
            empty(self.image.parent)
        if state == "cold":
            empty(self.folder / "cache")
        if state == "warm":
            empty(self.folder / "cache/layers")
        return Command(words, self.image, self.folder)


class KilnTree(Kiln):
    work, recipe, output = "tree", "debian-minbase-tar.toml", "debian-minbase-tar.tar"


class KilnForeign(Kiln):
    """The minbase tree for another architecture."""

    work, recipe, output = "foreign", "debian-minbase-tar.toml", "debian-minbase-tar.tar"

    def ready(self, state, number):
        command = super().ready(state, number)
        recipe = self.folder / "image.toml"
        recipe.write_text(recipe.read_text().replace("[base]", f'[base]\narchitecture = "{FOREIGN}"'))
        return command


class KilnDisk(Kiln):
    work, recipe, output = "disk", "debian-minimal.toml", "debian-minimal.raw"


class KilnUntold(KilnTree):
    """The minbase tree, and nobody is told."""

    work = "channel"


class KilnTold(KilnUntold):
    """The same, with status codes, events and the log going to a Redis of its own."""

    name = "told"

    def __init__(self):
        super().__init__()
        self.port = redis()

    def ready(self, state, number):
        command = super().ready(state, number)
        words = [*command.words, "--channel", "bench", "--redis-port", str(self.port)]
        return Command(words, command.output, command.folder)


class Debootstrap(Subject):
    """A folder, then tar."""

    work, name = "tree", "debootstrap"

    def ready(self, state, number):
        cache, tree, output = self.folder / "cache", self.folder / "tree", self.folder / "out.tar"
        empty(tree)
        if state == "cold" or not cache.exists():
            empty(cache)
        steps = [
            f"debootstrap --variant=minbase --cache-dir={cache} {SUITE} {tree} {mirror()}",
            f"echo bench-{number} > {tree}/etc/hostname",
            f"rm -f {tree}/var/cache/apt/archives/*.deb",
            f"tar --xattrs --numeric-owner -C {tree} -cf {output} .",
        ]
        return Command(["sh", "-ec", "\n".join(steps)], output, self.folder)


class Mmdebstrap(Subject):
    """With its manual's way to keep packages and lists between runs."""

    work, name, more = "tree", "mmdebstrap", []

    def ready(self, state, number):
        debs, lists = self.folder / "debs", self.folder / "lists"
        if state == "cold" or not debs.exists():
            empty(debs), empty(lists)
        hooks = [
            '--setup-hook=mkdir -p "$1"/var/cache/apt/archives "$1"/var/lib/apt/lists',
            f"--setup-hook=sync-in {debs} /var/cache/apt/archives/",
            f"--setup-hook=sync-in {lists} /var/lib/apt/lists/",
            f"--customize-hook=sync-out /var/cache/apt/archives {debs}",
            f"--customize-hook=sync-out /var/lib/apt/lists {lists}",
            f'--customize-hook=echo bench-{number} > "$1"/etc/hostname',
        ]
        keep = ["--skip=download/empty", "--skip=essential/unlink"]
        output = self.folder / "out.tar"
        words = ["mmdebstrap", "--variant=minbase", *self.more, *keep, *hooks, SUITE, output, mirror()]
        return Command(words, output, self.folder)


class MmdebstrapForeign(Mmdebstrap):
    """Its programs run in an emulator that is registered on the host, which kiln does without."""

    work, more = "foreign", [f"--architectures={FOREIGN}"]

    def __init__(self):
        super().__init__()
        register(FOREIGN)


WORK = {
    "tree": [KilnTree, Mmdebstrap, Debootstrap],
    "foreign": [KilnForeign, MmdebstrapForeign],
    "disk": [KilnDisk, Mkosi],
    "channel": [KilnUntold, KilnTold],
}
