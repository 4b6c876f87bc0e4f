//! Pieman's own cases: what its parameters, checks and definitions must come to.

use std::collections::BTreeMap;

use kiln_recipe::Look;
use kiln_recipe::pieman::{self, Given, Order, PairFiles, Parameters, Person, Refused, Surroundings};

/// Somebody who answers what is asked, and remembers what was shown.
#[derive(Default)]
struct Answers {
    answer: String,
    shown: Vec<String>,
}

impl Person for Answers {
    fn show(&mut self, line: &str) {
        self.shown.push(line.to_owned());
    }

    fn ask(&mut self, _: &str) -> String {
        self.answer.clone()
    }
}

fn declare_with(pairs: &[(&str, &str)], dotenv: &str, person: &mut Answers) -> Result<Parameters, Refused> {
    let environment: BTreeMap<String, String> = pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    pieman::declare(
        &Given {
            environment: &environment,
            dotenv: Some(dotenv),
            folder: "/srv/pieman".into(),
            owner: "1000:1000".into(),
            project: "fresh".into(),
        },
        person,
    )
}

fn declare(pairs: &[(&str, &str)]) -> Result<Parameters, Refused> {
    declare_with(pairs, "", &mut Answers::default())
}

/// Returns what Pieman says about parameters, or nothing.
fn fatal(pairs: &[(&str, &str)]) -> Option<String> {
    declare(pairs).and_then(|parameters| pieman::check(&parameters)).err().map(|refused| refused.fatal)
}

const USUAL: [(&str, &str); 3] = [("OS", "debian-trixie-arm64"), ("PROJECT_NAME", "x"), ("USER_PASSWORD", "x")];

fn order(pairs: &[(&str, &str)], pair: Option<&str>) -> Result<Order, Refused> {
    let mut parameters = declare(&[&USUAL, pairs].concat())?;
    let pair = pair.map(|definition| PairFiles {
        path: "devices/x/pieman.yml".into(),
        definition: definition.into(),
        ..PairFiles::default()
    });
    pieman::order(&mut parameters, &Surroundings { pair, ..Surroundings::default() })
}

fn recipe(pairs: &[(&str, &str)], pair: Option<&str>) -> String {
    let order = order(pairs, pair);
    order.unwrap_or_else(|refused| panic!("{}\n{}", refused.fatal, refused.render(Look::PLAIN))).recipe.toml()
}

/// 13: a default holds only where nothing is set; set to nothing is set.
#[test]
fn plain_variables() {
    let parameters = declare(&[("USER_NAME", "test"), ("TIME_ZONE", "")]).ok().unwrap();
    assert_eq!((parameters.text("USER_NAME"), parameters.text("TIME_ZONE")), ("test", ""));
    assert_eq!((parameters.text("LOCALE"), parameters.text("WPA_SSID")), ("en_US.UTF-8", ""));
    assert_eq!((parameters.text("HOST_NAME"), parameters.text("PROJECT_NAME")), ("pieman-rpi-3-b", "fresh"));
    assert_eq!(parameters.text("TOOLSET_DIR"), "/srv/pieman/toolset");
}

/// 14 and 15: what is shown comes before what is wrong.
#[test]
fn booleans_and_integers() {
    for (name, value, message) in [
        ("ENABLE_SUDO", "test", "ENABLE_SUDO must be a boolean"),
        ("ENABLE_SUDO", "", "ENABLE_SUDO must be a boolean"),
        ("ENABLE_SUDO", "True", "ENABLE_SUDO must be a boolean"),
        ("REDIS_PORT", "hello", "REDIS_PORT must be an integer"),
        ("REDIS_PORT", "-1", "REDIS_PORT must be an integer"),
        ("REDIS_PORT", "", "REDIS_PORT must be an integer"),
    ] {
        let mut person = Answers::default();
        let refused = declare_with(&[(name, value)], "", &mut person).err().unwrap();
        assert_eq!(refused.fatal, message);
        assert_eq!(person.shown.last(), Some(&format!("+ {name}={value}")));
    }
    for (name, value) in [("ENABLE_SUDO", "true"), ("ENABLE_SUDO", "false"), ("REDIS_PORT", "1337")] {
        assert_eq!(declare(&[(name, value)]).ok().unwrap().text(name), value);
    }
}

/// 16: `-` asks, and no secret is shown.
#[test]
fn protected_variables() {
    let mut person = Answers { answer: "different value".into(), ..Answers::default() };
    let pairs = [("PASSWORD", "-"), ("USER_PASSWORD", "test")];
    let parameters = declare_with(&pairs, "", &mut person).ok().unwrap();
    assert_eq!((parameters.text("PASSWORD"), parameters.text("USER_PASSWORD")), ("different value", "test"));
    assert_eq!(parameters.text("WPA_PSK"), "");
    for name in ["PASSWORD", "USER_PASSWORD", "WPA_PSK"] {
        assert!(person.shown.contains(&format!("+ {name}=*****")), "{name}");
    }
    assert_eq!(person.shown.len(), 50);
    assert_eq!(person.shown[0], "+ ALLOW_UNAUTHENTICATED=false");
    assert_eq!(person.shown[49], "+ XFCE4=false");
}

#[test]
fn dotenv_wins_and_is_literal() {
    let text = "# mine\nexport USER_NAME='a $b' # not\nLOCALE=\"x\"\nLOCALE=y\n";
    let parameters = declare_with(&[("USER_NAME", "env"), ("OS", "o")], text, &mut Answers::default()).ok().unwrap();
    assert_eq!((parameters.text("USER_NAME"), parameters.text("LOCALE"), parameters.text("OS")), ("a $b", "y", "o"));
    let refused = declare_with(&[], "A=1\nPASSWORD=$(id)\n", &mut Answers::default()).err().unwrap();
    let place = &refused.diagnostics[0].place;
    assert_eq!((place.file.as_str(), place.line, place.column), (".env", 2, 10));
}

/// What cannot be read at all may be a secret's value, or stand beside one.
#[test]
fn secrets_stay_secret_where_nothing_can_be_read() {
    for text in [
        "PASSWORD=topsecret\nUSER_PASSWORD=pa$secret\nOS=x\n",
        "PASSWORD=topsecret\nOS='x\nWPA_PSK=verysecret\n",
        "OS=a&secret\n",
        "PASSWORD='top\nsecret\n",
    ] {
        let refused = declare_with(&[], text, &mut Answers::default()).err().unwrap();
        let said = refused.render(Look::PLAIN);
        assert!(!said.contains("secret"), "{said}");
    }
}

/// A mistake beside a secret does not show the secret.
#[test]
fn secrets_stay_secret_in_messages() {
    let text = "PASSWORD=topsecret ENABLE_SUDO=yes\n";
    let refused = declare_with(&[("USER_PASSWORD", "alsosecret")], text, &mut Answers::default()).err().unwrap();
    let said = refused.render(Look::PLAIN);
    assert!(said.contains("PASSWORD=*********") && !said.contains("secret"), "{said}");
}

/// 17: one list, each package once.
#[test]
fn includes() {
    let text = recipe(&[("INCLUDES", "parted,ifupdown, net-tools,parted-extra")], None);
    let wanted =
        r#"include = ["parted", "ifupdown", "net-tools", "parted-extra", "sudo", "netbase", "inetutils-ping"]"#;
    assert!(text.contains(wanted), "{text}");
}

/// 19: the length comes before the characters.
#[test]
fn passphrases() {
    let psk = |psk: &str| fatal(&[("ENABLE_WIRELESS", "true"), ("WPA_SSID", "home"), ("WPA_PSK", psk)]);
    let length = Some("WPA_PSK is not valid: passphrase must be 8..63 characters".to_owned());
    let character = Some("WPA_PSK is not valid: invalid passphrase character".to_owned());
    assert_eq!(psk("secret"), length);
    assert_eq!(psk(&"a".repeat(78)), length);
    assert_eq!(psk(&"ж".repeat(32)), length);
    assert_eq!(psk("42 is the\nanswer"), character);
    assert_eq!(psk("1234567\x7f"), character);
    for fine in ["42 is the answer", "-password1", "--help123", "пароль12", "", &"a".repeat(63)] {
        assert_eq!(psk(fine), None, "{fine}");
    }
}

/// 20: the names stand in the group's order, whatever the user's.
#[test]
fn mutual_exclusion() {
    let conflict = |a: &str, b: &str| Some(format!("{a} and {b} conflict with each other."));
    assert_eq!(fatal(&[("COMPRESS_WITH_XZ", "true")]), None);
    let all = [("COMPRESS_WITH_XZ", "true"), ("COMPRESS_WITH_GZIP", "true"), ("COMPRESS_WITH_BZIP2", "true")];
    assert_eq!(fatal(&all), conflict("COMPRESS_WITH_BZIP2", "COMPRESS_WITH_GZIP"));
    let dns = [("ENABLE_CUSTOM_DNS", "0"), ("ENABLE_GOOGLE_DNS", "true")];
    assert_eq!(fatal(&dns), conflict("ENABLE_GOOGLE_DNS", "ENABLE_CUSTOM_DNS"));
    assert_eq!(fatal(&[("ENABLE_CUSTOM_DNS", "false"), ("ENABLE_GOOGLE_DNS", "true")]), None);
    let chroot = [("CREATE_ONLY_CHROOT", "true"), ("BASE_DIR", "/x"), ("ENABLE_MENDER", "true")];
    assert_eq!(fatal(&chroot), conflict("BASE_DIR", "CREATE_ONLY_CHROOT"));
}

/// 22: the switch, the word and the ending.
#[test]
fn compressors() {
    for (switch, word) in [("COMPRESS_WITH_BZIP2", "bz2"), ("COMPRESS_WITH_GZIP", "gz"), ("COMPRESS_WITH_XZ", "xz")] {
        let order = order(&[(switch, "true")], None).ok().unwrap();
        assert_eq!(order.place.result, format!("build/x.img.{word}"));
        assert!(order.recipe.toml().contains(&format!("compression = \"{word}\"")));
    }
    assert_eq!(order(&[], None).ok().unwrap().place.result, "build/x.img");
}

/// 24: the third part is an architecture or nothing.
#[test]
fn architectures() {
    assert!(recipe(&[("OS", "debian-trixie-armhf")], None).contains("architecture = \"armhf\""));
    assert!(recipe(&[("OS", "debian-trixie-arm64")], None).contains("architecture = \"arm64\""));
    let refused = order(&[("OS", "debian-trixie-mock")], None).err().unwrap();
    assert_eq!(refused.fatal, "Unknown architecture mock.");
}

/// 25: what depends on something needs it only when it says something itself.
#[test]
fn dependencies() {
    let needs = |a: &str, b: &str| {
        let must = "so the latter must be set to true (if bool) or simply specified (in other cases).";
        Some(format!("{a} depends on {b}, {must}"))
    };
    assert_eq!(fatal(&[("WPA_SSID", "home")]), needs("WPA_SSID", "ENABLE_WIRELESS"));
    assert_eq!(fatal(&[("WPA_SSID", "false")]), None);
    assert_eq!(fatal(&[("WPA_PSK", "12345678")]), needs("WPA_PSK", "ENABLE_WIRELESS"));
    assert_eq!(fatal(&[("WPA_PSK", "12345678"), ("ENABLE_WIRELESS", "true")]), needs("WPA_PSK", "WPA_SSID"));
}

const DEFINITION: &str = "ubuntu-noble-arm64:\n  repos: http://ports.ubuntu.com/ubuntu-ports/\n  boot: /boot/vmlinuz\n  \
                          kernel: {package: linux-image-generic}\n";

/// 26: an attribute that must be there and is not.
#[test]
fn attributes() {
    let ubuntu = [("OS", "ubuntu-noble-arm64")];
    assert!(recipe(&ubuntu, Some(DEFINITION)).contains("\"linux-image-generic\""));
    let without = DEFINITION.replace("repos", "mirrors");
    let refused = order(&ubuntu, Some(&without)).err().unwrap();
    let helper = "ubuntu-noble-arm64 does not have attribute repos.";
    let wanted = format!(
        "while getting the specified attribute from devices/x/pieman.yml occurred the following error: {helper}"
    );
    assert_eq!(refused.fatal, wanted);
    let refused = order(&[], Some(DEFINITION)).err().unwrap();
    assert_eq!(refused.fatal, "The root name 'debian-trixie-arm64' could not be found");
}

/// 27: the name in the image's files.
#[test]
fn host_names() {
    assert!(recipe(&[], None).contains("hostname = \"pieman-rpi-3-b\""));
    assert!(recipe(&[("HOST_NAME", "pieman")], None).contains("hostname = \"pieman\""));
}

/// 28: release, architecture, mirror and packages of what is installed first.
#[test]
fn first_stage() {
    let with = format!("{DEFINITION}  base: [mc, htop]\n");
    let text = recipe(&[("OS", "ubuntu-noble-arm64")], Some(&with));
    for line in ["release = \"24.04\"", "architecture = \"arm64\"", "mirror = \"http://ports.ubuntu.com/ubuntu-ports\""]
    {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("\"mc\", \"htop\""), "{text}");
}

/// 29: three parts, and the definition's codename in place of the second.
#[test]
fn os_in_parts() {
    let parameters = declare(&[("OS", "ubuntu-focal-armhf")]).ok().unwrap();
    assert_eq!(pieman::pieces(&parameters).ok().unwrap(), ["ubuntu", "focal", "armhf"]);
    let kali = "kali-x-armhf:\n  codename: kali-rolling\n  repos: http://http.kali.org/kali/\n  boot: /boot/x\n  \
                kernel: {package: linux-image-armmp}\n";
    let text = recipe(&[("OS", "kali-x-armhf"), ("DEVICE", "opi-zero")], Some(kali));
    assert!(text.contains("distribution = \"kali\"\nrelease = \"rolling\"\narchitecture = \"armhf\""), "{text}");
}

/// A pair switches nothing on that the user's choice excludes.
#[test]
fn params_do_not_overrule_the_user() {
    let with = format!("{DEFINITION}  params: [ENABLE_GOOGLE_DNS]\n");
    let dns = |pairs: &[(&str, &str)]| {
        let text = recipe(&[&[("OS", "ubuntu-noble-arm64")], pairs].concat(), Some(&with));
        text.lines().find(|line| line.starts_with("dns")).map(str::to_owned)
    };
    assert_eq!(dns(&[]).as_deref(), Some("dns = [\"8.8.8.8\", \"8.8.4.4\"]"));
    assert_eq!(dns(&[("ENABLE_CUSTOM_DNS", "192.0.2.1")]).as_deref(), Some("dns = [\"192.0.2.1\"]"));
}
