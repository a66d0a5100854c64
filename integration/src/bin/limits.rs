//! What the machine itself allows: the least a broker could do with the same bytes. Used by `integration/bench`.
//!
//! ```text
//! limits receive FILE            listens; receives frames, CRC-32C, write, fdatasync once per read, one byte back per frame
//! limits receive-unsynced FILE   the same without fdatasync
//! limits send ADDRESS BYTES FRAME    sends frames, five unanswered at most
//! limits serve-sendfile FILE     listens; sends the file with sendfile(2) to each connection
//! limits serve-read FILE         the same with read and write
//! limits fetch ADDRESS           reads to the end
//! limits fdatasync FILE RATE COUNT   writes 4 KiB and syncs at a rate; prints p50 p99 p99.9 in microseconds
//! limits batches ADDRESS TOPICS COUNT RECORDS   Produce requests of one batch each to topics t0.. in turn, 16 unanswered
//! ```
//! Listeners print their address and serve one connection after another until they are killed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use tidegate_integration::wire;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["receive", file] => serve(|stream| receive(stream, file, true)),
        ["receive-unsynced", file] => serve(|stream| receive(stream, file, false)),
        ["send", address, bytes, frame] => send(address, number(bytes), number(frame)),
        ["serve-sendfile", file] => serve(|stream| serve_sendfile(&stream, file)),
        ["serve-read", file] => serve(|stream| serve_read(stream, file)),
        ["fetch", address] => io::copy(&mut TcpStream::connect(address)?, &mut io::sink()).map(drop),
        ["fdatasync", file, rate, count] => fdatasync(file, number(rate), number(count)),
        ["batches", address, topics, count, records] => {
            batches(address, number(topics), number(count), number(records))
        }
        _ => Err(io::Error::other("see the top of this file for the arguments")),
    }
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

fn serve(mut session: impl FnMut(TcpStream) -> io::Result<()>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        session(stream?)?;
    }
    Ok(())
}

/// Reads what has come, checks it, stores it, answers for each whole frame in it.
fn receive(mut stream: TcpStream, path: &str, sync: bool) -> io::Result<()> {
    // Into space written before, as a log that recycles its segments does.
    let file = preallocated(path, 256 << 20)?;
    let mut buffer = vec![0; 1 << 20];
    let (mut total, mut position, mut sum) = (0_usize, 0_u64, 0_u64);
    let mut frame = [0; 4];
    stream.read_exact(&mut frame)?;
    let frame = u32::from_be_bytes(frame) as usize;
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            eprintln!("{sum:x}");
            return Ok(());
        }
        sum ^= crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &buffer[..read]);
        file.write_all_at(&buffer[..read], position)?;
        position = (position + read as u64) % (255 << 20);
        if sync {
            file.sync_data()?;
        }
        let answers = (total + read) / frame - total / frame;
        total += read;
        stream.write_all(&vec![1; answers])?;
    }
}

fn preallocated(path: &str, bytes: usize) -> io::Result<File> {
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let zeroes = vec![0; 1 << 20];
    for at in (0..bytes).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, at as u64)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn send(address: &str, bytes: usize, frame: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&u32::try_from(frame).expect("a frame").to_be_bytes())?;
    let body = vec![7; frame];
    let mut answers = [0; 64];
    let mut unanswered = 0;
    for _ in 0..bytes / frame {
        while unanswered >= 5 {
            unanswered -= stream.read(&mut answers)?;
        }
        stream.write_all(&body)?;
        unanswered += 1;
    }
    while unanswered > 0 {
        unanswered -= stream.read(&mut answers)?;
    }
    Ok(())
}

fn serve_sendfile(stream: &TcpStream, path: &str) -> io::Result<()> {
    let file = File::open(path)?;
    while rustix::fs::sendfile(stream, &file, None, 1 << 20)? > 0 {}
    Ok(())
}

fn serve_read(mut stream: TcpStream, path: &str) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read])?;
    }
}

fn fdatasync(path: &str, rate: usize, count: usize) -> io::Result<()> {
    let file = preallocated(path, 64 << 20)?;
    let body = [1; 4096];
    let tick = Duration::from_secs(1) / u32::try_from(rate).expect("a rate");
    let mut took = Vec::with_capacity(count);
    let begin = Instant::now();
    for i in 0..count {
        let due = begin + tick * u32::try_from(i).expect("a count");
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        file.write_all_at(&body, (i * body.len() % (64 << 20)) as u64)?;
        file.sync_data()?;
        took.push(start.elapsed().as_micros());
    }
    took.sort_unstable();
    println!("{} {} {}", took[count / 2], took[count * 99 / 100], took[count * 999 / 1000]);
    Ok(())
}

/// Prints the seconds it took.
fn batches(address: &str, topics: usize, count: usize, records: usize) -> io::Result<()> {
    let requests: Vec<Vec<u8>> = {
        let batch = full_batch(records);
        (0..topics).map(|topic| wire::produce(&format!("t{topic}"), 0, &batch)).collect()
    };
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = io::BufReader::new(stream.try_clone()?);
    let start = Instant::now();
    for sent in 0..count + 16 {
        if sent >= 16 {
            let topic = format!("t{}", (sent - 16) % topics);
            let answer = one_answer(&mut answers)?;
            let error = wire::produce_error(&topic, &answer);
            assert_eq!(error, 0, "the answer for {topic}");
        }
        if sent < count {
            stream.write_all(&requests[sent % topics])?;
        }
    }
    println!("{}", start.elapsed().as_secs_f64());
    Ok(())
}

fn one_answer(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    from.read_exact(&mut answer)?;
    answer.drain(..4);
    Ok(answer)
}

/// A batch of records of 100 bytes.
fn full_batch(records: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for delta in 0..records {
        wire::put_record(&mut body, i64::try_from(delta).expect("a count"), &[b'x'; 100]);
    }
    let count = i32::try_from(records).expect("a count");
    wire::Batch { count, last_offset_delta: count - 1, records: body, ..wire::Batch::good(b"") }.encode()
}
