//! The parsers against whatever comes.

use kiln_family::deb::{Index, deb822, packages, relation, trust};
use proptest::prelude::*;

/// Text that is nearly a control file.
fn nearly_control() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "(Package|Version|Architecture|Provides|Depends|SHA256|X): [a-z0-9 (>=),|:\\[\\]!<>.~-]{0,20}",
        " [a-z.]{0,8}",
        "\t?",
        "#[a-z ]{0,5}",
        "[a-z:é\r]{0,6}",
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

/// Well-formed stanzas as names and values.
fn stanzas() -> impl Strategy<Value = Vec<Vec<(String, String)>>> {
    let value = "[!-~]([ -~]{0,10}[!-~])?";
    let field = ("[A-Z][a-z]{1,5}(-[A-Z][a-z]{1,3})?", value);
    prop::collection::vec(prop::collection::vec(field, 1..5), 1..4).prop_map(|stanzas| {
        let mut stanzas: Vec<Vec<(String, String)>> = stanzas;
        for stanza in &mut stanzas {
            stanza.sort();
            stanza.dedup_by(|a, b| a.0.eq_ignore_ascii_case(&b.0));
        }
        stanzas
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(text in nearly_control(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for bytes in [text.as_bytes(), &bytes] {
            deb822::fuzz(bytes);
            packages::fuzz(bytes);
            trust::fuzz(bytes);
        }
        let _ = relation::parse(&text, "amd64");
    }

    #[test]
    fn what_is_written_is_read(stanzas in stanzas(), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let text: String = stanzas.iter().map(|fields| fields.iter().map(|(name, value)| format!("{name}: {value}{end}")).collect::<String>() + end).collect();
        let parsed = deb822::parse(&text).unwrap();
        let read: Vec<Vec<(String, String)>> = parsed
            .iter()
            .map(|paragraph| paragraph.fields.iter().map(|field| (field.name.to_owned(), field.value.trim().to_owned())).collect())
            .collect();
        prop_assert_eq!(read, stanzas);
    }

    /// The fast scan sees what the careful parser sees.
    #[test]
    fn the_scan_agrees_with_the_parser(stanzas in stanzas()) {
        let head = |at: usize| format!("Package: p{at}\nVersion: {at}\nArchitecture: all\nProvides: v,\n w\n");
        let body = |fields: &[(String, String)]| fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>();
        let known = ["package", "version", "architecture", "provides"];
        let stanzas: Vec<Vec<(String, String)>> =
            stanzas.into_iter().map(|fields| fields.into_iter().filter(|(name, _)| !known.contains(&name.to_lowercase().as_str())).collect()).collect();
        let text: String = stanzas.iter().enumerate().map(|(at, fields)| head(at) + &body(fields) + "\n").collect();
        let index = Index::parse(text.clone()).unwrap();
        let careful = deb822::parse(&text).unwrap();
        prop_assert_eq!(index.len(), careful.len());
        for (stanza, paragraph) in index.stanzas().zip(&careful) {
            for field in &paragraph.fields {
                prop_assert_eq!(stanza.get(field.name), Some(field.value.trim()));
            }
        }
    }
}
