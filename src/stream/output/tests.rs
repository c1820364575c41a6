// SPDX-License-Identifier: GPL-2.0-only
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use super::*;
use crate::format::stream_formats;
use crate::stream::event::tests::rtt_record;
use crate::stream::event::Event;

fn event() -> Content {
    Content::Event { event: Event::from_abi(&rtt_record()).unwrap(), on_shaper: false }
}

/// Returns the number of objects in the array that `path` holds.
fn objects(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len()
}

fn pipe() -> (File, File) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    (reader.into(), writer.into())
}

fn output_to(file: File, format: StreamFormat) -> Output {
    Output::new(OutputFile::new(file, None), format, false)
}

#[test]
fn each_file_holds_a_whole_array() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("a.json"), folder.path().join("a.json.1"));
    fs::write(&path, "an earlier array").unwrap();
    let mut output = Output::open(Some(&path), &stream_formats::JSON, false, None).unwrap();
    assert_eq!(output.replaced(), Some(path.as_path()));
    output.record(1, event());
    output.record(2, event());
    assert!(matches!(output.reopen(None).unwrap(), Reopened::Same));
    fs::rename(&path, &moved).unwrap();
    assert!(matches!(output.reopen(None).unwrap(), Reopened::Fresh));
    assert_eq!(output.replaced(), None);
    output.record(3, event());
    output.finish().unwrap();
    assert_eq!((objects(&moved), objects(&path)), (2, 1));
}

#[test]
fn lines_are_appended_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    for run in 1..=2 {
        let mut output = Output::open(Some(&path), &stream_formats::JSONL, false, None).unwrap();
        output.record(run, event());
        output.finish().unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn a_file_that_cannot_be_opened_is_named_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent/a");
    let err = Output::open(Some(&path), &stream_formats::JSON, false, None).unwrap_err();
    assert_eq!(err.exit_code(), 1);
    assert!(err.to_string().starts_with(&format!("open {}", path.display())), "{err}");

    let path = folder.path().join("a");
    let mut output = Output::open(Some(&path), &stream_formats::STANDARD, false, None).unwrap();
    fs::rename(&path, folder.path().join("b")).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(output.reopen(None).unwrap(), Reopened::Failed(_)));
    output.record(0, Content::Lost(7));
    output.check_reader().unwrap();
    output.finish().unwrap();
    assert!(fs::read_to_string(folder.path().join("b")).unwrap().contains("7 events lost"));
}

#[test]
fn no_events_are_an_empty_array() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    Output::open(Some(&path), &stream_formats::JSON, false, None).unwrap().finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "[]\n");
}

#[test]
fn a_stop_ends_the_wait_for_the_reader_of_a_fifo() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (stop, stopper) = pipe();
    (&stopper).write_all(b"!").unwrap();
    let format = &stream_formats::JSONL;
    let err = Output::open(Some(&path), format, false, Some(stop.as_fd())).unwrap_err();
    let Error::Output(err) = err else { panic!("{err}") };
    assert_eq!(err.kind(), io::ErrorKind::BrokenPipe);
    // With a reader, it opens at once.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    Output::open(Some(&path), format, false, Some(stop.as_fd())).unwrap().finish().unwrap();
    drop(reader);
}

#[test]
fn a_failed_write_leaves_no_half_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "half").unwrap();
    let mut file = OutputFile::open(&path, false, None).unwrap();
    assert_eq!(file.write(b"a whole\nhalf again", None, None).0, 18);
    file.remove_half_line().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "half\na whole\n");
    // Somebody else has written behind it: nothing is removed.
    file.write(b"half", None, None).1.unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"other\n").unwrap();
    file.remove_half_line().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "half\na whole\nhalfother\n");
}

#[test]
fn a_closed_reader_is_a_broken_pipe() {
    let (reader, writer) = pipe();
    drop(reader);
    let mut output = output_to(writer, &stream_formats::JSONL);
    assert!(output.check_reader().is_err());
    output.record(1, event());
    let err = output.flush(None).unwrap_err();
    let Error::Output(err) = err else { panic!("{err}") };
    assert_eq!(err.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let mut output =
        Output::open(Some(Path::new("/dev/full")), &stream_formats::JSONL, false, None).unwrap();
    output.record(1, event());
    let err = output.finish().unwrap_err();
    assert!(err.to_string().starts_with("write /dev/full: No space"), "{err}");
    assert_eq!(err.exit_code(), 1);
}

#[test]
fn a_stalled_reader_does_not_block_the_stream() {
    let (mut reader, writer) = pipe();
    let mut output = output_to(writer, &stream_formats::JSONL);
    for _ in 0..1000 {
        output.record(1, event());
    }
    let (wake_reader, wake_writer) = pipe();
    (&wake_writer).write_all(b"!").unwrap();
    let wake: OwnedFd = wake_reader.into();
    output.flush(Some(wake.as_fd())).unwrap();
    assert!(!output.buffer.is_empty() && output.check_reader().is_ok());
    let err = output.finish().unwrap_err();
    assert!(err.to_string().contains("its reader does not read"), "{err}");
    // When the reader goes on, it gets the rest without a gap.
    let rest = output.buffer.len();
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    output.flush(None).unwrap();
    drop(output);
    let text = read.join().unwrap().unwrap();
    assert!(rest > 0 && text.lines().count() == 1000);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}
