//! Damaged files: either everything comes back, or an error names the file and the place.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_integration::load::Load;
use tidegate_integration::{Gateway, Setup, copy_directory, http, place};

const BROWSE: &str = "/v1/topics/t/messages?partition=0&offset=0&limit=1000";
const MESSAGES: usize = 40;
/// Bytes damaged, spread over everything written.
const SAMPLES: usize = 250;

fn small_segments() -> Setup {
    Setup::default().segments("2MiB")
}

/// A data directory with some messages, and what browsing them answers.
fn prepare(clean: bool) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut gateway = small_segments().data(directory.path().join("data")).start();
    drop(Load::new(&gateway, "t", 1));
    for i in 0..MESSAGES {
        let body = format!("message {i} {}", "x".repeat(50));
        let answer = http::send(gateway.http, "POST", "/v1/topics/t/messages", "text/plain", body.as_bytes()).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let browsed = browse(&gateway).body;
    assert!(browsed.contains(&format!("message {}", MESSAGES - 1)), "{browsed}");
    if clean {
        assert!(gateway.stop().success());
    } else {
        gateway.kill();
    }
    (directory, browsed)
}

fn browse(gateway: &Gateway) -> http::Answer {
    http::get(gateway.http, BROWSE).unwrap()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Places that hold something: a byte that is not zero.
fn written(directory: &Path) -> Vec<(PathBuf, usize)> {
    files(directory)
        .into_iter()
        .flat_map(|file| {
            let bytes = fs::read(&file).unwrap();
            let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            places.into_iter().map(move |at| (file.clone(), at))
        })
        .collect()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

/// Starts on the directory. `None` when everything came back; otherwise everything that was said about it.
fn what_it_says(data: &Path, wanted: &str) -> Option<String> {
    let setup = small_segments().data(data).expect_error("");
    let mut gateway = match setup.try_start() {
        Ok(gateway) => gateway,
        Err(log) => return Some(log),
    };
    let answer = browse(&gateway);
    if answer.status == 200 && answer.body == wanted {
        return None;
    }
    let said = format!("{answer:?}\n{}", gateway.log());
    gateway.kill();
    Some(said)
}

#[test]
fn a_flipped_byte_is_named_or_harmless() {
    let (original, wanted) = prepare(true);
    let data = original.path().join("data");
    let places = written(&data);
    let step = places.len().div_ceil(SAMPLES).max(1);
    let (mut harmless, mut named) = (0, 0);
    for (file, at) in places.iter().step_by(step) {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(&data, copy.path());
        let name = file.strip_prefix(&data).unwrap();
        flip(&copy.path().join(name), *at);
        match what_it_says(copy.path(), &wanted) {
            None => harmless += 1,
            Some(said) => {
                let leaf = name.file_name().unwrap().to_string_lossy();
                assert!(
                    said.contains(&*leaf),
                    "byte {at} of {} flipped: the file is not named in: {said}",
                    name.display()
                );
                // The listeners' identity is a small text, not a log: its name is enough.
                assert!(
                    leaf == "gateway.json" || said.contains("at byte"),
                    "byte {at} of {} flipped: no place is named in: {said}",
                    name.display()
                );
                named += 1;
            }
        }
    }
    place::report(&format!(
        "{} of {} written bytes flipped, one at a time: {harmless} harmless, {named} named, 0 silent",
        harmless + named,
        places.len()
    ));
}

#[test]
fn a_cut_tail_is_reported() {
    let (original, wanted) = prepare(false);
    let data = original.path().join("data");
    let (file, last) = newest_log(&data);
    for cut in [1, 10, 100, 1_000] {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(&data, copy.path());
        let damaged = copy.path().join(file.strip_prefix(&data).unwrap());
        let length = u64::try_from((last + 1).saturating_sub(cut)).unwrap();
        fs::File::options().write(true).open(&damaged).unwrap().set_len(length).unwrap();
        let mut gateway = match small_segments().data(copy.path()).expect_error("").try_start() {
            Ok(gateway) => gateway,
            Err(log) => {
                assert!(log.contains("at byte"), "{cut} bytes cut: it does not start, and names no place: {log}");
                continue;
            }
        };
        let kept = browse(&gateway).body.matches("message ").count();
        let log = gateway.log();
        assert!(log.contains("torn"), "{cut} bytes cut, {kept} of {MESSAGES} messages kept, and nothing said: {log}");
        gateway.kill();
    }
    drop(wanted);
}

/// The log file with the last bytes written, and the position of its last byte that is not zero.
fn newest_log(data: &Path) -> (PathBuf, usize) {
    let mut last = None;
    for (file, at) in written(data) {
        let bytes = fs::read(&file).unwrap();
        if bytes.windows(8).any(|window| window == b"message ") {
            last = Some((file, at));
        }
    }
    last.expect("a file with messages")
}
