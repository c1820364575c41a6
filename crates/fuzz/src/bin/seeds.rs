// SPDX-License-Identifier: GPL-2.0-only
//! Writes frames of the model's generator into a folder, one per file. The parser's fuzzer starts from them.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use model::frame::{ExtensionHeader, Label};
use model::{Frame, Generator, Step, World};

const SEED: u64 = 1;
const FRAMES: usize = 400;
/// Longest frame. The parser does not read the payload: long frames only slow the fuzzer down.
const LONGEST: usize = 600;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("Usage: seeds FOLDER");
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
    let odd = long_chains().chain(echoes()).chain(stacks());
    for (number, frame) in frames().chain(odd).enumerate() {
        fs::write(folder.join(format!("{number:03}")), frame)?;
    }
    Ok(())
}

/// Returns frames whose extension headers end close to the point where the parser stops. Random changes
/// rarely reach it.
fn long_chains() -> impl Iterator<Item = Vec<u8>> {
    let options = (46..=51).map(|length| ExtensionHeader::new(60, length));
    let authentication = (94..=101).map(|length| ExtensionHeader::new(51, length));
    options.chain(authentication).map(|extension| {
        let frame = Frame::tcp6([0x20; 16], [0xfd; 16]).extensions(&[extension]);
        frame.timestamps(1, 2).build()
    })
}

/// Returns ICMP echoes. The type of ICMP is in the place of the source port of TCP.
fn echoes() -> impl Iterator<Item = Vec<u8>> {
    let v4 = Frame::tcp4([192, 0, 2, 1], [100, 64, 0, 2]).protocol(1);
    let v6 = Frame::tcp6([0x20; 16], [0xfd; 16]).protocol(58);
    let types = [(v4.clone(), 8), (v4, 0), (v6.clone(), 128), (v6, 129)];
    types.into_iter().map(|(frame, kind)| frame.ports(kind << 8, 0).build())
}

/// Returns label stacks of every depth around that at which the parser stops.
fn stacks() -> impl Iterator<Item = Vec<u8>> {
    let v4 = Frame::tcp4([192, 0, 2, 1], [100, 64, 0, 2]).timestamps(1, 2);
    let v6 = Frame::tcp6([0x20; 16], [0xfd; 16]).timestamps(1, 2).tags(&[0x8100]);
    [v4, v6].into_iter().flat_map(|frame| {
        (1..=5).map(move |depth| frame.clone().labels(&Label::stack(depth)).build())
    })
}

fn frames() -> impl Iterator<Item = Vec<u8>> {
    let world = World { lan: 1, wan: 2, elsewhere: 3, cpus: vec![0], absent_cpu: 1 };
    let steps = Generator::new(SEED, world).map(|(_, step)| step);
    let frames = steps.filter_map(|step| match step {
        Step::Steer { frame, .. } | Step::Classify { frame, .. } | Step::Forward { frame, .. } => {
            Some(frame)
        }
        Step::Map { .. } => None,
    });
    frames.filter(|frame| frame.len() <= LONGEST).take(FRAMES)
}
