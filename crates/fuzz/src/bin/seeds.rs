//! Writes frames of the model's generator into a folder, one a file: what the parser's fuzzer starts from.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use model::frame::Extension;
use model::{Frame, Generator, Step, World};

const SEED: u64 = 1;
const FRAMES: usize = 400;
/// Payload tells the parser nothing: a long one only slows the fuzzer down.
const LONGEST: usize = 600;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: seeds FOLDER");
        return ExitCode::from(2);
    };
    match write_frames(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("ERR: seeds: {}: {err}", folder.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}

fn write_frames(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, frame) in frames().chain(long_chains()).chain(echoes()).enumerate() {
        fs::write(folder.join(format!("{number:03}")), frame)?;
    }
    Ok(())
}

/// Extension headers that end around where the parser stops to follow: no random walk gets there soon.
fn long_chains() -> impl Iterator<Item = Vec<u8>> {
    let options = (46..=51).map(|length| Extension::new(60, length));
    let authentication = (94..=101).map(|length| Extension::new(51, length));
    options.chain(authentication).map(|extension| {
        let frame = Frame::tcp6([0x20; 16], [0xfd; 16]).extensions(&[extension]);
        frame.timestamps(1, 2).build()
    })
}

/// ICMP: the type stands where a TCP segment has its source port.
fn echoes() -> impl Iterator<Item = Vec<u8>> {
    let v4 = Frame::tcp4([192, 0, 2, 1], [100, 64, 0, 2]).protocol(1);
    let v6 = Frame::tcp6([0x20; 16], [0xfd; 16]).protocol(58);
    let types = [(v4.clone(), 8), (v4, 0), (v6.clone(), 128), (v6, 129)];
    types.into_iter().map(|(frame, kind)| frame.ports(kind << 8, 0).build())
}

fn frames() -> impl Iterator<Item = Vec<u8>> {
    let world = World { lan: 1, wan: 2, elsewhere: 3, cpus: vec![0], absent_cpu: 1 };
    let steps = Generator::new(SEED, world).map(|(_, step)| step);
    let frames = steps.filter_map(|step| match step {
        Step::Steer { frame, .. } | Step::Classify { frame, .. } => Some(frame),
        Step::Map { .. } => None,
    });
    frames.filter(|frame| frame.len() <= LONGEST).take(FRAMES)
}
