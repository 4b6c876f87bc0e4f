//! What the firmware reads: loader, entries and kernels, put where the boot partition will be.
//!
//! Boot Loader Specification, type 1 entries under the entry token, named as kernel-install(8) names them, so that
//! kernel updates on the device replace them; or one unified kernel image at the removable-media path.

use kiln_disk::uki;
use kiln_family::deb::Version;
use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Fault, GuestPath};
use kiln_plan::context::path;

use super::initrd::{image, kernels};
use crate::target::{Ids, Target};

/// What a boot action says.
pub struct Entries<'a> {
    pub arch: Arch,
    pub loader: &'a str,
    pub cmdline: &'a str,
    pub title: &'a str,
    pub token: &'a str,
    pub timeout: u32,
    /// Where the boot partition is mounted.
    pub esp: &'a GuestPath,
}

/// Where packages put what firmware runs.
const LOADERS: &str = "/usr/lib/systemd/boot/efi";

impl Entries<'_> {
    pub fn write(&self, target: &Target) -> Result<(), Fault> {
        let kernels: Vec<_> = kernels(target)?.into_iter().filter(|version| image(target, version).is_some()).collect();
        if kernels.is_empty() {
            let fault = Fault::recipe("the image has no kernel in `/boot`, so nothing could start it");
            return Err(fault.hint("take a board, or add a kernel package such as `linux-image-amd64`"));
        }
        match self.loader {
            "uki" => self.unified(target, &kernels),
            _ => self.boot_loader(target, &kernels),
        }
    }

    fn put(&self, target: &Target, at: &str, bytes: &[u8]) -> Result<(), Fault> {
        let at = path(&format!("{}/{at}", self.esp));
        target.write(&at, 0o644, Ids::default(), bytes).farm(|| format!("write `{at}`"))
    }

    fn boot_loader(&self, target: &Target, kernels: &[String]) -> Result<(), Fault> {
        // Debian's signed build is the same program, and the one a machine with Secure Boot accepts.
        let (efi, removable) = (self.efi()?, self.removable()?);
        let signed = format!("{LOADERS}/systemd-boot{efi}.efi.signed");
        let signed = target.read(&path(&signed)).farm(|| format!("read `{signed}` of the tree"))?;
        let loader = signed.map_or_else(|| read(target, &format!("{LOADERS}/systemd-boot{efi}.efi")), Ok)?;
        self.put(target, &removable, &loader)?;
        self.put(target, &format!("EFI/systemd/systemd-boot{efi}.efi"), &loader)?;
        self.put(target, "loader/loader.conf", format!("timeout {}\n", self.timeout).as_bytes())?;
        self.put(target, "loader/entries.srel", b"type1\n")?;
        kernels.iter().try_for_each(|version| self.entry(target, version))
    }

    fn entry(&self, target: &Target, version: &str) -> Result<(), Fault> {
        let Self { token, title, cmdline, .. } = self;
        let folder = format!("{token}/{version}");
        self.put(target, &format!("{folder}/linux"), &kernel(target, version)?)?;
        let initrd = format!("initrd.img-{version}");
        let has_initrd = target.exists(&path(&format!("/boot/{initrd}")));
        if has_initrd {
            self.put(target, &format!("{folder}/{initrd}"), &read(target, &format!("/boot/{initrd}"))?)?;
        }
        let mut text = format!(
            "title      {title}\nversion    {version}\nsort-key   {token}\noptions    {cmdline}\nlinux      /{folder}/linux\n"
        );
        if has_initrd {
            text.push_str(&format!("initrd     /{folder}/{initrd}\n"));
        }
        self.put(target, &format!("loader/entries/{token}-{version}.conf"), text.as_bytes())
    }

    /// The newest kernel only: firmware starts exactly one file at this path.
    fn unified(&self, target: &Target, kernels: &[String]) -> Result<(), Fault> {
        let newest = kernels.iter().max_by(|a, b| Version::parse(a).ok().cmp(&Version::parse(b).ok()));
        let version = newest.expect("checked by the caller");
        let stub = read(target, &format!("{LOADERS}/linux{}.efi.stub", self.efi()?))?;
        let os_release = read(target, "/usr/lib/os-release")?;
        let kernel = kernel(target, version)?;
        let initrd = target.read(&path(&format!("/boot/initrd.img-{version}"))).farm(|| "read the initrd".into())?;
        let initrd = initrd.unwrap_or_default();
        let sections: [(&str, &[u8]); 5] = [
            (".osrel", &os_release),
            (".cmdline", self.cmdline.as_bytes()),
            (".uname", version.as_bytes()),
            (".initrd", &initrd),
            (".linux", &kernel),
        ];
        let image = uki::assemble(&stub, &sections).farm(|| "assemble the unified kernel image".into())?;
        self.put(target, &self.removable()?, &image)
    }

    fn efi(&self) -> Result<&'static str, Fault> {
        self.arch.efi().ok_or_else(|| Fault::recipe(format!("machines of `{}` have no UEFI", self.arch)))
    }

    /// Returns where firmware looks on a medium it does not know.
    fn removable(&self) -> Result<String, Fault> {
        Ok(format!("EFI/BOOT/BOOT{}.EFI", self.efi()?.to_uppercase()))
    }
}

fn kernel(target: &Target, version: &str) -> Result<Vec<u8>, Fault> {
    let image = image(target, version).unwrap_or_else(|| path(&format!("/boot/vmlinuz-{version}")));
    read(target, &image.to_string())
}

fn read(target: &Target, file: &str) -> Result<Vec<u8>, Fault> {
    let bytes = target.read(&path(file)).farm(|| format!("read `{file}` of the tree"))?;
    bytes.ok_or_else(|| {
        let hint = "the packages `systemd-boot-efi` and a kernel bring what an EFI image starts with";
        Fault::recipe(format!("the image lacks `{file}`")).hint(hint)
    })
}
