fn main() {
    let a: Vec<_> = std::env::args().skip(1).collect();
    let t = std::time::Instant::now();
    let x = kiln_engine::diff::open(a[0].as_ref()).map_err(|f| f.chain()).unwrap();
    eprintln!(
        "{} {:?} {} entries {} pkgs {} units {:?}",
        x.format,
        t.elapsed(),
        x.tree.entries.len(),
        x.packages.len(),
        x.units.len(),
        x.partitions
    );
    let y = kiln_engine::diff::open(a[1].as_ref()).map_err(|f| f.chain()).unwrap();
    eprintln!(
        "{} {:?} {} entries {} pkgs {} units {:?}",
        y.format,
        t.elapsed(),
        y.tree.entries.len(),
        y.packages.len(),
        y.units.len(),
        y.partitions
    );
    print!("{}", kiln_engine::diff::text::render(&kiln_engine::diff::diff(&x, &y), false));
}
