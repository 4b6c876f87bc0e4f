//! One action at a time: a table from what a plan says to who does it.

use kiln_model::action::Owner;
use kiln_model::fault::OrFault as _;
use kiln_model::{Action, Fault, GuestPath, RunIn, StageKind};
use kiln_plan::accounts;
use kiln_sandbox::Command;

use super::Run;
use super::install::Wanted;
use super::upgrade::Upgraded;
use crate::target::{Ids, Target};

/// The way out for scripts that run before there is an image.
const AMONG_TOOLS: &str = "it has bash, coreutils, findutils, grep, gzip, mawk, sed and tar, and the empty image at `/target`: name a \
                           later point in `after` for what needs more";

impl Run<'_> {
    /// Does `action` to the tree at `target`.
    pub fn perform(&self, stage: StageKind, action: &Action, target: &Target) -> Result<(), Fault> {
        match action {
            Action::Tree { from } => self.tree(from, target),
            Action::Unpack { packages, bare, only } => self.unpack(stage, packages, (*bare, only), target),
            Action::Configure { hold, env } => self.configure(stage, hold, env, target),
            Action::Manual { packages } => self.mark_manual(packages, target),
            Action::Install { packages, installed, world, env } => {
                self.install(stage, Wanted { packages, installed: *installed, world, env }, target)
            }
            Action::Upgrade { packages, names, world, env } => {
                self.upgrade(stage, Upgraded { packages, names, world, env }, target)
            }
            Action::Runlevels { services } => self.runlevels(services, target),
            Action::Run { name, r#in, argv, env, stdin, files } => {
                let mut command = self.command_in(*r#in, argv, target)?;
                command.env.extend(self.unveiled(env)?);
                command.stdin = stdin.as_ref().map(|content| self.content(content)).transpose()?.unwrap_or_default();
                let run = |command| match r#in {
                    RunIn::Target => self.command(stage, name, command),
                    RunIn::Tools => self.directly(stage, name, command).map_err(|fault| fault.hint(AMONG_TOOLS)),
                };
                match files {
                    Some(files) => self.with_files(files, command, run),
                    None => run(command),
                }
            }
            Action::Write { path, content, mode, owner } => {
                let bytes = self.content(content)?;
                let written = target.write(path, *mode, self.ids(target, owner)?, &bytes);
                written.farm(|| format!("write `{path}` in the tree"))
            }
            Action::Mkdir { path, mode, owner } => {
                let made = target.mkdir(path, *mode, self.ids(target, owner)?);
                made.farm(|| format!("make `{path}` in the tree"))
            }
            Action::Symlink { path, target: to } => {
                let made = target.symlink(path, to.as_bytes(), Ids::default());
                made.farm(|| format!("link `{path}` in the tree"))
            }
            Action::Remove { glob } => each(target, glob, Target::remove),
            Action::Truncate { glob } => each(target, glob, Target::truncate),
            Action::Users { users } => self.users(users, target),
            Action::Services { enable, disable, mask } => self.services(stage, [enable, disable, mask], target),
            Action::Copy { path, from, mode, owner } => self.copy(path, from, *mode, self.ids(target, owner)?, target),
            Action::Download { path, from, mode, owner } => {
                self.put_download(path, from, *mode, self.ids(target, owner)?, target)
            }
            Action::Depmod => self.depmod(stage, target),
            Action::Initrd { env } => self.initrd(stage, env, target),
            Action::Boot { loader, cmdline, title, token, timeout, esp } => {
                let (arch, timeout) = (self.plan.arch, *timeout);
                super::boot::Entries { arch, loader, cmdline, title, token, timeout, esp }.write(target)
            }
            // Read out with the tree, not done to it.
            Action::Clamp { .. } => Ok(()),
            Action::Image(_) | Action::Publish { .. } => {
                Err(Fault::farm(format!("stage `{stage}` has an action of an output's stage")))
            }
        }
    }

    fn command_in(&self, place: RunIn, argv: &[String], target: &Target) -> Result<Command, Fault> {
        match place {
            RunIn::Target => Ok(Command::new(target.root(), argv.iter().cloned())),
            RunIn::Tools => {
                let at = GuestPath::new("/target").expect("a plain path");
                Ok(self.tool(argv.iter().cloned())?.bind(target.root(), at, false))
            }
        }
    }

    /// Looks names up in the target's own account files.
    pub fn ids(&self, target: &Target, owner: &Owner) -> Result<Ids, Fault> {
        if owner == &Owner::default() {
            return Ok(Ids::default());
        }
        let text =
            |file: &str| target.text(&kiln_plan::context::path(file)).farm(|| format!("read `{file}` of the tree"));
        let uid = accounts::id_of(&text("/etc/passwd")?, &owner.user);
        let gid = accounts::id_of(&text("/etc/group")?, &owner.group);
        let unknown = |what: &str, name: &str| {
            Fault::recipe(format!("the image has no {what} called `{name}`"))
                .hint("add it to the recipe, or use a number")
        };
        let uid = uid.ok_or_else(|| unknown("user", &owner.user))?;
        Ok(Ids { uid, gid: gid.ok_or_else(|| unknown("group", &owner.group))? })
    }
}

fn each(target: &Target, glob: &str, verb: fn(&Target, &GuestPath) -> std::io::Result<()>) -> Result<(), Fault> {
    let found = target.glob(glob).farm(|| format!("look for `{glob}` in the tree"))?;
    found.iter().try_for_each(|path| verb(target, path).farm(|| format!("clean `{path}` in the tree")))
}
