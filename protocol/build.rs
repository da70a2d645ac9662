//! Generates the Rust types of `proto/` with a Protobuf compiler written in Rust, so that
//! building needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/rookery/v1/client.proto", "proto/rookery/v1/log.proto"], ["proto"])?;
    prost_build::Config::new().btree_map(["."]).bytes(["."]).compile_fds(files)?;
    Ok(())
}
