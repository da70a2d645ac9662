//! Who is at the other end of an accepted connection: one proxy serves several processes, and a partition may be
//! between two of them only. Linux says it in `/proc`, for processes of the same user.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::{Mutex, OnceLock, PoisonError},
};

/// The client of one connection.
pub(super) struct Source {
    address: SocketAddr,
    /// How the kernel names its socket.
    inode: OnceLock<Option<String>>,
    /// What was found out: asked for with every piece of data.
    is: Mutex<HashMap<u32, bool>>,
}

impl Source {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, inode: OnceLock::new(), is: Mutex::default() }
    }

    /// Whether the connection is of that process.
    pub(super) fn is(&self, pid: u32) -> bool {
        let mut known = self.is.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(pid).or_insert_with(|| {
            let inode = self.inode.get_or_init(|| inode_of(self.address));
            inode.as_ref().is_some_and(|inode| has(pid, inode))
        })
    }
}

/// Looks a local socket up in `/proc/net/tcp`: `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode`,
/// addresses as hexadecimal in the machine's byte order.
fn inode_of(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let ip = u32::from_ne_bytes(address.ip().octets());
    let local = format!("{ip:08X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let inode = (columns.nth(1)? == local).then(|| columns.nth(7))??;
        (inode != "0").then(|| inode.to_owned())
    })
}

fn has(pid: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
}
