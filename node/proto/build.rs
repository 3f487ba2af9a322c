//! Compiles the `.proto` files, in Rust alone, into `OUT_DIR`.

use std::path::PathBuf;
use std::{env, error, fs};

use protox::prost::Message;

const FILES: [&str; 9] = ["admin", "error", "identity", "kv", "map", "peer", "report", "session", "system"];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES.map(|file| format!("skerry/v1/{file}.proto")), ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("skerry.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
