//! The size of the pages that the kernel gives this process.

use rustix::thread::disable_transparent_huge_pages;

/// Asks the kernel for pages of 4 KiB, never for huge ones that it makes up by itself (`PR_SET_THP_DISABLE`, prctl(2)). Child processes inherit
/// it.
///
/// The first byte written into a huge page waits until 2 MiB are cleared, and where a virtual machine gives free memory back
/// to its host, until the host has found them: 5 to 6 ms of a core each, measured on two cores of an Intel Xeon, six times what
/// the same memory costs in small pages. A node that has just started and is left some rooms touches dozens of them while people wait:
/// of sixty planned handovers one or two took 110 to 150 ms, and of a hundred without none more than 57 (docs/faults.md). It costs
/// some 5 % of a delivery's CPU at a light load, nothing at the highest, and saves as much memory (docs/benchmarks.md, "Huge pages").
pub fn small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        // Not every sandbox allows it. The allocator asks for none by itself; a system may give them all the same.
        tracing::debug!(%error, "the kernel may use transparent huge pages");
    }
}
