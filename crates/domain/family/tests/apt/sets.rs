//! The list of requests, one a line: `empty|minbase ARCH[+FOREIGN] [recommends] : WORDS`.

use std::fmt;

use kiln_model::Arch;

/// One request.
#[derive(Clone, Debug)]
pub struct Set {
    /// Whether it is asked of an installed minbase rather than of nothing.
    pub minbase: bool,
    /// Native first.
    pub architectures: Vec<Arch>,
    pub recommends: bool,
    pub words: Vec<String>,
}

pub fn read(text: &str) -> Vec<Set> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(line).collect()
}

fn line(line: &str) -> Set {
    let (how, words) = line.split_once(" : ").unwrap_or_else(|| panic!("no ` : ` in `{line}`"));
    let how: Vec<&str> = how.split_whitespace().collect();
    let minbase = match how[0] {
        "minbase" => true,
        "empty" => false,
        other => panic!("`{other}` is neither `empty` nor `minbase`"),
    };
    let architectures = how[1].split('+').map(|arch| arch.parse().unwrap()).collect();
    let recommends = how.get(2).is_some_and(|word| *word == "recommends");
    Set { minbase, architectures, recommends, words: words.split_whitespace().map(str::to_owned).collect() }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = if self.minbase { "minbase" } else { "empty" };
        let architectures: Vec<&str> = self.architectures.iter().map(|arch| arch.debian()).collect();
        let recommends = if self.recommends { " recommends" } else { "" };
        write!(f, "{start} {}{recommends} : {}", architectures.join("+"), self.words.join(" "))
    }
}
