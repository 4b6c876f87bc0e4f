//! `[mender]`: updates over the air, by Mender.

use kiln_model::GuestPath;
use kiln_model::action::{FilesystemKind, TableKind};

use super::base::Ground;
use super::secrets::Secrets;
use crate::catalogue::board;
use crate::desk::{Desk, Note};
use crate::forms::URI;
use crate::needs::Needs;
use crate::shape::{Form, Shape, Table, Wrong, key};
use crate::spec::{BoardSpec, Disk, Loader, Mender};
use crate::view::View;

pub static KEYS: Table = Table {
    name: "[mender]",
    doc: "Updates over the air: two roots that take turns, Mender's client, and U-Boot, which goes back to the old root where the \
          new one does not come up. The disk is divided for it; an output `mender` is the update.",
    keys: &[
        key("artifact-name", Shape::Text(&WORD), "What the server knows this software by; each update has another.")
            .here()
            .example("\"release-1\""),
        key("device-type", Shape::Text(&WORD), "What the server knows such devices by.")
            .default("the board's")
            .example("\"raspberrypi3\""),
        key("server-url", Shape::Text(&URI), "Where updates come from.").default("\"https://hosted.mender.io\""),
        key("tenant-token", Shape::Secret, "What a hosted server knows its customer by, by reference.")
            .example("{ secret = \"mender\" }"),
        key("update-poll-interval", SECONDS, "Seconds between two questions for an update.").default("1800"),
        key("inventory-poll-interval", SECONDS, "Seconds between two reports of what the device is.").default("86400"),
        key("retry-poll-interval", SECONDS, "Seconds until a server that did not answer is asked again.")
            .default("300"),
    ],
    more: None,
};

const SECONDS: Shape = Shape::Integer { from: 1, to: i32::MAX as i64 };

static WORD: Form = Form {
    what: "a word without blanks and quotes",
    pattern: Some(r#"^[!#-&(-\[\]-~]+$"#),
    check: |text| {
        let fine = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
        if !text.is_empty() && text.chars().all(fine) {
            Ok(())
        } else {
            Err(Wrong::new(format!("`{text}` is no such word")))
        }
    },
    hint: None,
};

/// Where Mender's client keeps what outlives an update, and so a partition of its own.
const DATA: &str = "/data";

/// Returns Mender's part, and adds what it needs; tells where board, release or disk have none of it.
pub fn read(
    root: View<'_>,
    ground: &Ground,
    board: Option<&BoardSpec>,
    disk: Option<&Disk>,
    secrets: &Secrets<'_>,
    needs: &Needs,
    desk: &Desk<'_>,
) -> Option<Mender> {
    let span = root.key_span("mender")?;
    let view = root.section("mender");
    let tenant_token = view.secret("tenant-token").map(|said| secrets.used(said, desk));
    let own = ground.board.and_then(|said| said.value.mender_in(ground.release, ground.architecture));
    let Some((own, u_boot)) = own else {
        let place = ground.board.map_or(span, |said| said.span);
        let device = ground.board.map_or_else(|| "no board".to_owned(), |said| format!("board `{}`", said.value.name));
        let message =
            format!("{device} of {} ({}) takes no updates by Mender", ground.release.title, ground.architecture);
        desk.say(Note::error(span, "contradiction", message).also(place, "this board").hint(possible()));
        return None;
    };
    if let Some(board) = board.filter(|board| board.loader != Loader::RaspiFirmware) {
        let message = format!("updates by Mender need the loader of board `{}`", board.name);
        desk.say(Note::error(span, "contradiction", message).hint("leave `boot.loader` out"));
    }
    if let Some(disk) = disk {
        divided(root, disk, own, desk);
    } else {
        let note = Note::error(span, "contradiction", "`[mender]` without an output that has partitions");
        desk.say(note.hint("outputs for it: `raw` and `qcow2`, and `mender`, the update"));
    }
    needs.feature("mender", "`[mender]`", span);
    own.packages.iter().for_each(|package| needs.package(package, "`[mender]`", span));
    let number =
        |key: &str, usual: u32| view.integer(key).and_then(|said| u32::try_from(said.value).ok()).unwrap_or(usual);
    Some(Mender {
        artifact_name: view.string("artifact-name").unwrap_or_default(),
        device_type: view.string("device-type").unwrap_or_else(|| own.device_type.clone()),
        server_url: view.string("server-url").unwrap_or_else(|| "https://hosted.mender.io".into()),
        tenant_token,
        update_interval: number("update-poll-interval", 1800),
        inventory_interval: number("inventory-poll-interval", 86_400),
        retry_interval: number("retry-poll-interval", 300),
        u_boot: u_boot.clone(),
    })
}

/// Returns what boards there are for it, for people.
pub fn possible() -> String {
    let of = |board: &'static board::Board| Some((board.name.as_str(), board.mender.as_ref()?));
    let one = |(name, own): (&str, &board::OverTheAir)| {
        format!("{name} ({})", own.u_boot.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    format!("those that do: {}", board::all().iter().filter_map(of).map(one).collect::<Vec<_>>().join("; "))
}

/// An MBR, FAT first for U-Boot, an empty slot beside the root, and a partition for what outlives updates.
fn divided(root: View<'_>, disk: &Disk, own: &board::OverTheAir, desk: &Desk<'_>) {
    let empty = disk.root().is_some_and(|root| {
        let slots: Vec<_> = disk.partitions.iter().filter(|part| part.is_slot_of(&root.name)).collect();
        matches!(slots.as_slice(), [slot] if slot.slot.as_ref().is_some_and(|slot| !slot.filled))
            && root.filesystem == FilesystemKind::Ext4
    });
    let data = GuestPath::new(DATA).ok();
    let keeps = disk.partitions.iter().any(|part| part.mount == data);
    let first = disk.partitions.first().is_some_and(|part| part.role == "firmware");
    if disk.table == TableKind::Mbr && empty && keeps && first {
        return;
    }
    let span = root.key_span("disk").or_else(|| root.key_span("mender")).unwrap_or_default();
    let message = format!(
        "updates by Mender need an MBR with the firmware's FAT first, one root of ext4 with one empty slot, and a partition at `{DATA}`"
    );
    let hint = format!("leave the division of the disk out, or say layout = \"{}\"", own.layout);
    desk.say(Note::error(span, "contradiction", message).hint(hint));
}
