//! Makes the Rust types from the schema, without a `protoc` to install.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 4] = ["admin", "consumer", "message", "publisher"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=tidegate");
    let files = FILES.map(|name| format!("tidegate/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or("cargo sets OUT_DIR")?;
    // With comments and imports, for reflection.
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Shared with what was read from the socket, not copied out of it.
        .bytes(".")
        // Most messages have none: they stay small in memory.
        .boxed(".tidegate.v1.Message.properties")
        .boxed(".tidegate.v1.ReceivedMessage.dead_letter")
        .extern_path(".tidegate.v1.ConsumeResponse.Messages", "crate::Messages")
        .compile_fds(descriptors)?;
    Ok(())
}
