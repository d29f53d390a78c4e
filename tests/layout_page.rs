//! `docs/layout.md` says what the layout modules say, word for word but for links; and a region's first bytes are
//! the golden ones.

use std::fs;
use std::path::Path;

use allmende::Region;
use allmende::layout::header::{Header, fnv1a, format_fingerprint};

/// In the order of the page.
const MODULES: [&str; 21] = [
    "mod",
    "header",
    "owner",
    "participant",
    "directory",
    "mutex",
    "spsc",
    "counters",
    "queue",
    "cell",
    "broadcast",
    "array",
    "lanes",
    "rwlock",
    "condvar",
    "semaphore",
    "barrier",
    "once",
    "event",
    "service",
    "topic",
];

/// The page as it ought to be: the modules' own head comments, one after the other.
fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut page = String::from(
        "# Layout of a region\n\nAll numbers are in the machine's byte order, which the format's fingerprint names. The tables below are\nthe head comments of `src/layout/`; a test compares them.\n",
    );
    for module in MODULES {
        let source = fs::read_to_string(root.join(format!("src/layout/{module}.rs"))).unwrap();
        let title = if module == "mod" { "overview" } else { module };
        page.extend(["\n## ", title, "\n\n"]);
        for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
            // A link to another module is one to its part of the page.
            page.push_str(&line.strip_prefix(' ').unwrap_or(line).replace("](super::", "](#"));
            page.push('\n');
        }
    }
    page
}

#[test]
fn the_page_says_what_the_modules_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/layout.md");
    if std::env::var_os("ALLMENDE_WRITE_PAGES").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "docs/layout.md is old: run this test once with ALLMENDE_WRITE_PAGES=1");
}

#[test]
fn the_first_bytes_are_the_golden_ones() {
    use std::os::unix::fs::FileExt;
    let region = Region::create().size(4096).participants(2).objects(3).memfd("golden").unwrap();
    let file = fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
    let mut bytes = [0; 256];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..8], b"allmende");
    assert_eq!(bytes[8..12], [1, 0, 0, 0], "version 1.0");
    assert_eq!(bytes[16..24], format_fingerprint().to_ne_bytes());
    assert_eq!(bytes[24..32], 12288_u64.to_ne_bytes(), "two pages and the tables', rounded up");
    assert_eq!(bytes[32..40], 4096_u64.to_ne_bytes(), "participants follow the header");
    assert_eq!(bytes[40..44], 2_u32.to_ne_bytes());
    assert_eq!(bytes[44..48], 3_u32.to_ne_bytes());
    assert_eq!(bytes[48..56], (4096 + 2 * 128_u64).to_ne_bytes(), "the directory follows them");
    assert_eq!(bytes[56..64], 8192_u64.to_ne_bytes(), "objects start at the next page");
    assert_eq!(bytes[64..80], region.id());
    assert_eq!(bytes[112..120], [1, 0, 0, 0, 1, 0, 0, 0], "a memfd; the last to detach deletes");
    assert_eq!(&bytes[120..127], b"golden\0");
    assert_eq!(bytes[184..248], [0; 64], "reserved");
    assert_eq!(bytes[248..256], fnv1a(&bytes[..248]).to_ne_bytes());
    assert_eq!(size_of::<Header>(), bytes.len());
}
