//! What a person is told who has just started a gateway: where it listens, and what to type next.

use std::fmt::Write;
use std::path::Path;

use super::Addresses;

/// For a terminal.
pub fn welcome(addresses: &Addresses, data_dir: &Path) -> String {
    let mut text = format!("Tidegate {} is ready, its data in {}\n\n", env!("CARGO_PKG_VERSION"), data_dir.display());
    addresses.lines().for_each(|line| text.push_str(&(line + "\n")));
    // Writing to a string does not fail.
    let _ = write!(text, "\nNext, in another terminal:\n\n");
    let (http, kafka) = (addresses.get("http"), addresses.get("kafka"));
    if let Some(http) = http {
        let _ = writeln!(text, "  curl -d 'hello' http://{http}/v1/topics/greetings/messages");
    }
    match (kafka, http) {
        (Some(kafka), _) => {
            let _ = writeln!(text, "  kcat -b {kafka} -C -t greetings -o beginning -e");
        }
        (None, Some(http)) => {
            let _ = writeln!(text, "  tidegate subscribe greetings --from earliest --server http://{http}");
        }
        (None, None) => {}
    }
    text.push_str("\nCtrl-C stops it.\n");
    text
}
