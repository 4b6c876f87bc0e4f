//! Rebuilds when the catalogue changes: files that `include_dir!` takes in are not watched otherwise.

fn main() {
    println!("cargo::rerun-if-changed=../../../data");
    println!("cargo::rerun-if-changed=templates");
}
