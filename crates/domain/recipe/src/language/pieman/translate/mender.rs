//! `[mender]`: what a device asks its server for updates with.

use super::Work;
use crate::desk::Note;
use crate::language::pieman::sheets::Refused;
use crate::section::mender::possible;

/// Either of them brings the client.
const SWITCHES: [&str; 2] = ["ENABLE_MENDER", "CREATE_ONLY_MENDER_ARTIFACT"];

/// Parameters that are numbers of seconds, and their keys.
const INTERVALS: [(&str, &str); 3] = [
    ("MENDER_UPDATE_POLL_INTERVAL", "mender.update-poll-interval"),
    ("MENDER_INVENTORY_POLL_INTERVAL", "mender.inventory-poll-interval"),
    ("MENDER_RETRY_POLL_INTERVAL", "mender.retry-poll-interval"),
];

impl Work<'_> {
    /// Returns the switch by which the image has Mender's client.
    pub(super) fn mendered(&self) -> Option<&'static str> {
        SWITCHES.into_iter().find(|switch| self.parameters.is_on(switch))
    }

    /// The same for images and for the updates that they take.
    pub(super) fn mender(&mut self) -> Result<(), Refused> {
        let Some(switch) = self.mendered() else { return Ok(()) };
        let (release, architecture) = (self.target.release, self.target.architecture);
        if self.target.board.and_then(|board| board.mender_in(release, architecture)).is_none() {
            return Err(self.no_mender(switch));
        }
        self.copy("MENDER_ARTIFACT_NAME", "mender.artifact-name");
        self.copy("MENDER_SERVER_URL", "mender.server-url");
        let token = self.parameters.text("MENDER_TENANT_TOKEN").to_owned();
        if !token.is_empty() {
            let span = self.parameters.span("MENDER_TENANT_TOKEN");
            let reference = self.secret("MENDER_TENANT_TOKEN", token);
            self.tree.set("mender.tenant-token", reference, span);
        }
        for (name, key) in INTERVALS {
            // Digits they are; more of them than a number has are as wrong as the largest one.
            let seconds = self.parameters.text(name).parse().unwrap_or(i64::MAX);
            self.tree.set(key, crate::node::Value::Integer(seconds), self.parameters.span(name));
        }
        Ok(())
    }

    fn no_mender(&self, switch: &str) -> Refused {
        let fatal = "cannot create Mender compatible image for the specified device and operating system. \
                     OS=raspberrypios-buster-armhf and DEVICE=rpi-3-b is supported only.";
        let message = format!(
            "{} ({}) on this device takes no updates by Mender",
            self.target.release.title, self.target.architecture
        );
        let note = Note::error(self.parameters.span(switch), "contradiction", message)
            .also(self.parameters.span("DEVICE"), "this device")
            .hint(possible());
        self.parameters.sheets.refuse(fatal, note)
    }
}
