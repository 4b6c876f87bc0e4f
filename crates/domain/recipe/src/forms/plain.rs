//! Names, paths and free text.

use kiln_model::GuestPath;

use super::expect;
use crate::shape::{Form, Wrong};

/// Anything.
pub static TEXT: Form = Form { what: "text", pattern: None, check: |_| Ok(()), hint: None };

pub static LINE: Form = Form {
    what: "one line of text",
    pattern: Some(r"^[^\r\n]*$"),
    check: |text| expect(!text.contains(['\n', '\r']), || Wrong::new("this must be one line")),
    hint: None,
};

pub static NAME: Form = Form {
    what: "a name of letters, digits, `-`, `_` and `.`",
    pattern: Some(r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"),
    check: name,
    hint: None,
};

/// A file or folder beside the recipe.
pub static LOCAL_PATH: Form = Form {
    what: "the path of a file, from the folder of this recipe file",
    pattern: None,
    check: |text| expect(!text.is_empty() && !text.contains('\0'), || Wrong::new("a path is not empty")),
    hint: None,
};

pub static GUEST_PATH: Form =
    Form { what: "an absolute path in the image", pattern: Some(r"^/.+$"), check: guest_path, hint: None };

pub static MOUNT_POINT: Form = Form {
    what: "an absolute path in the image",
    pattern: Some(r"^/"),
    check: |text| if text == "/" { Ok(()) } else { guest_path(text) },
    hint: None,
};

pub static MODE: Form = Form {
    what: "an octal mode as text",
    pattern: Some(r"^[0-7]{3,5}$"),
    check: |text| {
        let fine = (3..=5).contains(&text.len()) && u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777);
        expect(fine && !text.starts_with('+'), || {
            Wrong::new(format!("`{text}` is not a file mode")).label("expected octal digits, as in \"0644\"")
        })
    },
    hint: Some("modes are octal and written as text: \"0644\""),
};

pub static LABEL: Form = Form {
    what: "a filesystem label of at most 16 bytes",
    pattern: Some(r"^[A-Za-z0-9._-]{1,16}$"),
    check: |text| {
        name(text)?;
        expect(text.len() <= 16, || Wrong::new(format!("the label `{text}` is longer than 16 bytes")))
    },
    hint: None,
};

pub static MACHINE_ID: Form = Form {
    what: "\"first-boot\" or 32 hexadecimal digits",
    pattern: Some(r"^(first-boot|[0-9a-f]{32})$"),
    check: |text| {
        let hex = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        expect(text == "first-boot" || hex, || {
            Wrong::new(format!("`{text}` is not a machine id"))
                .label("expected \"first-boot\" or 32 lowercase hexadecimal digits")
        })
    },
    hint: None,
};

/// A word of the kernel's command line.
pub static KERNEL_ARGUMENT: Form = Form {
    what: "one argument of the kernel",
    pattern: Some(r"^\S+$"),
    check: |text| {
        expect(!text.is_empty() && !text.contains(char::is_whitespace), || {
            let words: Vec<String> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
            Wrong::new(format!("`{text}` is not one argument")).hint(format!("each by itself: {}", words.join(", ")))
        })
    },
    hint: None,
};

pub static VARIABLE: Form = Form {
    what: "the name of an environment variable",
    pattern: Some(r"^[A-Za-z_][A-Za-z0-9_]*$"),
    check: |text| {
        let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let fine = fine && !text.is_empty() && !text.as_bytes()[0].is_ascii_digit();
        expect(fine, || Wrong::new(format!("`{text}` is not the name of an environment variable")))
    },
    hint: None,
};

fn name(text: &str) -> Result<(), Wrong> {
    let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    expect(fine && !text.is_empty() && !text.starts_with(['.', '-']) && text.len() <= 128, || {
        Wrong::new(format!("`{text}` is not a name")).label("expected letters, digits, `-`, `_` and `.`")
    })
}

fn guest_path(text: &str) -> Result<(), Wrong> {
    let wrong = |why: String| Wrong::new(format!("`{text}` is not a path in the image")).label(why);
    if !text.starts_with('/') {
        return Err(wrong("it must begin with `/`".into()).hint(format!("did you mean `/{text}`?")));
    }
    let path = GuestPath::new(text).map_err(|error| wrong(error.to_string()))?;
    expect(path != GuestPath::root(), || wrong("the root itself is always there".into()))
}
