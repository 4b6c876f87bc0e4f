//! Host names, each looked up once.
//!
//! The client would ask for every connection anew: a dozen lookups at once for the one mirror. Resolvers on weak lines
//! lose some of these, and a lost one takes five seconds. A lookup blocks, so it has a thread of its own: the bytes of
//! other servers come in meanwhile.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;

/// Looks a name up; may block.
type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

pub(crate) struct Names {
    lookup: Lookup,
    known: Mutex<HashMap<String, Arc<OnceCell<Vec<SocketAddr>>>>>,
}

impl Default for Names {
    fn default() -> Self {
        Self { lookup: |host| Ok((host, 0).to_socket_addrs()?.collect()), known: Mutex::default() }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, lookup) = (name.as_str().to_owned(), self.lookup);
        let cell = Arc::clone(self.known.lock().expect("no panic while held").entry(host.clone()).or_default());
        Box::pin(async move {
            let ask = async || tokio::task::spawn_blocking(move || lookup(&host)).await.map_err(io::Error::other)?;
            let addresses = cell.get_or_try_init(ask).await?.clone();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    static QUICK: AtomicBool = AtomicBool::new(false);
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    /// The slow name has an address only once the quick one has.
    fn lookup(host: &str) -> io::Result<Vec<SocketAddr>> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        if host == "quick.example" {
            QUICK.store(true, Ordering::SeqCst);
        }
        let quick = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            QUICK.load(Ordering::SeqCst)
        });
        if quick { Ok(vec![([127, 0, 0, 1], 0).into()]) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    #[test]
    fn a_slow_name_holds_nobody_up_and_each_is_asked_for_once() {
        let names = Names { lookup, ..Names::default() };
        let ask = |host: &str| names.resolve(host.parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(async {
            let slow = [ask("slow.example"), ask("slow.example")].map(tokio::spawn);
            drop(ask("quick.example").await.expect("its address"));
            let mut found = Vec::new();
            for slow in slow {
                found.push(slow.await.expect("no panic").map(Iterator::collect::<Vec<_>>).map_err(|e| e.to_string()));
            }
            found
        });
        assert_eq!(found, vec![Ok(vec![([127, 0, 0, 1], 0).into()]); 2]);
        assert_eq!(ASKED.load(Ordering::SeqCst), 2);
    }
}
