//! A plan as text: every stage with its id, its actions and their inputs.

use std::fmt::Write as _;

use kiln_model::action::{Content, ImageAction, PackageRef, Partition, TableKind};
use kiln_model::{Action, Plan};

/// Returns the plan as `kiln plan` prints it.
pub fn text(plan: &Plan) -> String {
    let mut out = format!("plan {} ({}, epoch {})\n", plan.name, plan.arch, plan.epoch);
    for pipeline in &plan.pipelines {
        let from = pipeline.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
        writeln!(out, "\npipeline {}{from}", pipeline.name).expect("writing to a string");
        for (stage, id) in pipeline.stages.iter().zip(plan.ids(pipeline)) {
            let code = stage.kind.code().map(|code| format!(" · code {code}")).unwrap_or_default();
            writeln!(out, "  {} {}{code}", stage.kind, id.0.short()).expect("writing to a string");
            stage.actions.iter().flat_map(lines).for_each(|line| out.push_str(&format!("    {line}\n")));
        }
    }
    out
}

/// Returns an action's lines: one, or one for each package.
fn lines(action: &Action) -> Vec<String> {
    match action {
        Action::Unpack { packages, bare, only } => {
            let how = if *bare { " without database" } else { "" };
            let of: String = only.iter().map(|path| format!(" {path}")).collect();
            let head = format!("unpack {} packages{how}{of}", packages.len());
            std::iter::once(head).chain(packages.iter().map(package)).collect()
        }
        Action::Install { packages, installed, world, .. } => {
            let head = format!("install {} packages for {}", packages.len() - installed, world.join(" "));
            std::iter::once(head).chain(packages[*installed..].iter().map(package)).collect()
        }
        Action::Upgrade { packages, names, world, .. } => {
            let head = format!("upgrade to {} packages for {}", names.len(), world.join(" "));
            std::iter::once(head).chain(packages.iter().map(package)).collect()
        }
        other => vec![line(other)],
    }
}

fn package(package: &PackageRef) -> String {
    let PackageRef { name, version, architecture, sha256, size, automatic } = package;
    let mark = if *automatic { " automatic" } else { "" };
    format!("  {name} {version} {architecture} {size} {}{mark}", sha256.short())
}

fn line(action: &Action) -> String {
    match action {
        Action::Unpack { packages, .. } => format!("unpack {} packages", packages.len()),
        Action::Install { packages, installed, .. } => format!("install {} packages", packages.len() - installed),
        Action::Upgrade { names, .. } => format!("upgrade to {} packages", names.len()),
        Action::Runlevels { services } => {
            let levels = services.iter().map(|(level, services)| format!("{level} {}", services.join(" ")));
            format!("runlevels {}", levels.collect::<Vec<_>>().join("; "))
        }
        Action::Configure { hold, .. } if hold.is_empty() => "configure packages".into(),
        Action::Configure { hold, .. } => format!("configure packages, holding back {}", hold.join(", ")),
        Action::Manual { packages } => format!("mark as asked for: {}", packages.join(", ")),
        Action::Run { name, argv, files, .. } => {
            let lent = files.as_ref().map(|files| format!(" with {} {}", files.path, files.digest.short()));
            format!("run {name}: {}{}", argv.join(" "), lent.unwrap_or_default())
        }
        Action::Write { path, content, mode, owner } => {
            format!("write {path} {mode:04o} {}:{} {}", owner.user, owner.group, content_words(content))
        }
        Action::Mkdir { path, mode, owner } => format!("mkdir {path} {mode:04o} {}:{}", owner.user, owner.group),
        Action::Symlink { path, target } => format!("symlink {path} -> {target}"),
        Action::Remove { glob } => format!("remove {glob}"),
        Action::Truncate { glob } => format!("truncate {glob}"),
        Action::Users { users } => {
            let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
            format!("users {}", names.join(", "))
        }
        Action::Services { enable, disable, mask } => services(enable, disable, mask),
        Action::Download { path, from, mode, owner } => {
            format!("download {} to {path} {mode:04o} {}:{} {}", from.url, owner.user, owner.group, from.sha256.short())
        }
        Action::Copy { path, from, .. } => format!("copy {} to {path} {}", from.path, from.digest.short()),
        Action::Tree { from } => format!("build upon {} {}", from.path, from.digest.short()),
        Action::Depmod => "index kernel modules".into(),
        Action::Initrd { .. } => "make the initrd".into(),
        Action::Boot { loader, cmdline, .. } => format!("boot by {loader}: {cmdline}"),
        Action::Clamp { epoch } => format!("no time after {epoch}"),
        Action::Image(image) => image_words(image),
        Action::Publish { companions } => format!("publish with {}", companions.join(", ")),
    }
}

fn content_words(content: &Content) -> String {
    match content {
        Content::Text(text) => format!("{} bytes {}", text.len(), kiln_model::Digest::of(text).short()),
        Content::Base64(text) => {
            format!("{} bytes {}", text.trim_end_matches('=').len() * 3 / 4, kiln_model::Digest::of(text).short())
        }
        Content::Secret { name, .. } => format!("secret {name}"),
    }
}

fn services(enable: &[String], disable: &[String], mask: &[String]) -> String {
    let words = [("enable", enable), ("disable", disable), ("mask", mask)];
    let said =
        words.iter().filter(|(_, units)| !units.is_empty()).map(|(word, units)| format!("{word} {}", units.join(" ")));
    said.collect::<Vec<_>>().join("; ")
}

/// Where a partition is mounted, and with what.
fn place(partition: &Partition) -> String {
    let mount = partition.mount.as_ref().map(|mount| format!(" at {mount}")).unwrap_or_default();
    let subvolumes = partition.filesystem.subvolumes.iter().map(|one| format!(" {} at {}", one.name, one.mount));
    let subvolumes: String = subvolumes.collect();
    let twin = partition.twin.as_ref().map(|twin| format!(" slot of {}", twin.of)).unwrap_or_default();
    format!("{mount}{subvolumes}{twin}")
}

fn image_words(image: &ImageAction) -> String {
    let pressed = |compression: &Option<kiln_model::action::Compression>| {
        compression.map(|c| format!(", {} level {}", c.algorithm.ending(), c.level)).unwrap_or_default()
    };
    match image {
        ImageAction::Dir => "directory".into(),
        ImageAction::File { path, compression } => format!("{path}{}", pressed(compression)),
        ImageAction::Tar { compression } => format!("tar{}", pressed(compression)),
        ImageAction::Squashfs { inner, compression } => format!("squashfs, {inner}{}", pressed(compression)),
        ImageAction::Erofs { inner, compression } => {
            format!("erofs, {}{}", inner.as_deref().unwrap_or("uncompressed"), pressed(compression))
        }
        ImageAction::Mender { disk, partition, artifact_name, device_type, compression } => {
            let size =
                disk.partitions.iter().find(|part| part.name == *partition).map(|part| format!(" ({:?})", part.size));
            let size = size.unwrap_or_default().to_lowercase();
            format!("mender artifact {artifact_name} for {device_type}, {partition}{size}{}", pressed(compression))
        }
        ImageAction::Disk { container, disk, compression } => {
            let parts = disk
                .partitions
                .iter()
                .map(|p| format!("{} {:?}{} ({:?})", p.name, p.filesystem.kind, place(p), p.size));
            let parts = parts.collect::<Vec<_>>().join("; ");
            let bios = if disk.bios.is_some() { "; GRUB for a BIOS" } else { "" };
            let table = if disk.table == TableKind::Hybrid { " hybrid" } else { "" };
            let line = format!("{container:?}{table} disk {}: {parts}{bios}{}", disk.id, pressed(compression));
            line.to_lowercase()
        }
    }
}
