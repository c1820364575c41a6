// SPDX-License-Identifier: GPL-2.0-only
//! Follows a shaper: puts the follower's program behind each classifier.
//!
//! Each classifier ends in a tail call into its own `cpp_follower`, a program array of one entry that
//! is not pinned. The kernel calls the program in that entry while a follower holds a descriptor of
//! the array, and empties the array when the last descriptor closes, also after a crash.
//! docs/decisions/0006 says why.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use caps::Capability;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::abi::programs::FOLLOW_ARRAY;
use crate::abi::{maps, ABI_VERSION, FLOW_WAYS};
use crate::domain::error::{Error, Result};
use crate::domain::IfName;
use crate::kernel::device;
use crate::kernel::map_set::require_version;
use crate::kernel::netlink;
use crate::kernel::open_files;
use crate::kernel::pin::PinDir;
use crate::kernel::program_config::ProgramConfig;
use crate::kernel::program_info::{program_info, program_maps};
use crate::kernel::tc::tc_program;
use crate::stream::source::live::Attachment;
use crate::stream::source::stream_programs::{StreamProgram, StreamPrograms};

/// The classifiers that a follower's program is behind.
pub struct Following {
    dir: PinDir,
    /// Program array of each classifier, by the id of the classifier's program.
    arrays: BTreeMap<u32, MapHandle>,
    /// Number of flows in the classifiers' table when the follower's program was loaded.
    places: u32,
}

/// Returns the number of flows that the loaded classifiers' flow table holds.
///
/// # Errors
/// [`Error::MapFile`]: nothing is loaded. [`Error::Map`]: the maps are of another ABI version.
pub fn flow_places(dir: &PinDir) -> Result<u32> {
    require_version(dir)?;
    match dir.try_open(maps::FLOW)? {
        Some(map) => Ok(map.max_entries() * FLOW_WAYS as u32),
        None => Err(Error::map_file(
            format!("open {}", dir.path_of(maps::FLOW).display()),
            "no such pin",
            "load the programs first: tc_classify --dev-egress IF",
        )),
    }
}

/// Returns the number of classifiers of this network namespace that have a follower behind them.
///
/// # Errors
/// The kernel does not list the interfaces or the classifiers' maps.
pub fn followed(dir: &PinDir) -> Result<usize> {
    let mut count = 0;
    for_each_classifier(dir, |_, program| {
        count += usize::from(follow_array(program)?.is_some_and(|array| is_taken(&array)));
        Ok(())
    })?;
    Ok(count)
}

/// Tells whether the array has a program.
fn is_taken(array: &MapHandle) -> bool {
    matches!(array.lookup(&0u32.to_ne_bytes(), MapFlags::ANY), Ok(Some(_)))
}

impl Following {
    /// Puts the follower's program behind the classifier of every interface.
    ///
    /// # Errors
    /// [`Error::Other`]: no interface has a classifier, or another follower is running.
    pub fn begin(dir: &PinDir, programs: &StreamPrograms) -> Result<Self> {
        // One file for each classifier.
        open_files::raise_limit();
        let places = flow_places(dir)?;
        let mut following = Self { dir: dir.clone(), arrays: BTreeMap::new(), places };
        following.join(programs)?;
        if following.arrays.is_empty() {
            let remedy = "attach it first: tc_classify --dev-egress IF";
            return Err(Error::other("--follow", "no interface has our classifier", remedy));
        }
        Ok(following)
    }

    /// Puts the program behind the classifiers that are new since the last call, and lets go of
    /// those that are gone.
    ///
    /// # Errors
    /// A new classifier is of another ABI version, or has a larger flow table than this follower
    /// counts on.
    fn join(&mut self, programs: &StreamPrograms) -> Result<()> {
        let mut now = BTreeMap::new();
        let (dir, mut lock) = (self.dir.clone(), None);
        for_each_classifier(&dir, |id, program| {
            // A program array takes any program at any time: only the lock keeps another follower
            // from entering between the look and the entry. A load holds it, too.
            let mut hold = || -> Result<()> {
                if lock.is_none() {
                    lock = Some(dir.lock()?);
                }
                Ok(())
            };
            if let Some(array) = self.arrays.remove(&id) {
                // Another process may have had the array open, and closed it as this one entered.
                if !is_taken(&array) {
                    hold()?;
                    enter(&array, programs)?;
                }
                now.insert(id, array);
                return Ok(());
            }
            hold()?;
            if let Some(array) = stand_behind(program, programs)? {
                self.check_places()?;
                now.insert(id, array);
            }
            Ok(())
        })?;
        self.arrays = now;
        Ok(())
    }

    /// Refuses to follow a new flow table with more flows: this follower keeps an account of each.
    fn check_places(&self) -> Result<()> {
        let places = flow_places(&self.dir)?;
        if places <= self.places {
            return Ok(());
        }
        let why = format!("the flow table has grown from {} flows to {places}", self.places);
        Err(Error::other("--follow", why, "start it again"))
    }
}

impl Attachment for Following {
    /// Follows reloads, which replace a classifier by a new one with a new, empty array.
    fn check(&mut self, programs: &StreamPrograms) -> Result<()> {
        self.join(programs)
    }
}

/// Puts the follower's program behind one classifier and returns the classifier's program array.
/// The program stays there until the array is dropped. Returns `None` if the classifier is a
/// predecessor's, without such an array.
///
/// # Errors
/// [`Error::Other`]: the classifier is of another ABI version, which hands packets over in another
/// way; another follower is running; or CAP_SYS_ADMIN is missing.
pub fn stand_behind(classifier: &OwnedFd, programs: &StreamPrograms) -> Result<Option<MapHandle>> {
    // The array stays open from here on: when its last descriptor closes, the kernel empties it a
    // moment later, perhaps after the program was entered.
    let array = follow_array(classifier)?;
    require_version_of(classifier)?;
    array.iter().try_for_each(|array| enter(array, programs))?;
    Ok(array)
}

/// Refuses a classifier of ours that is of another ABI version.
fn require_version_of(classifier: &OwnedFd) -> Result<()> {
    let info = program_info(classifier).ok();
    let config = info.and_then(|info| ProgramConfig::of(info.id, &program_maps(classifier).ok()?));
    match config.map(|config| config.abi_version) {
        Some(version) if u64::from(version) != ABI_VERSION => {
            let why = format!("the classifiers have ABI version {version} now, not {ABI_VERSION}");
            Err(Error::other("--follow", why, "start the xdp_pping of the installed version"))
        }
        _ => Ok(()),
    }
}

/// Calls `visit` with id and program of the classifier of each interface that has one. An interface
/// that has gone is skipped.
///
/// # Errors
/// The first error of `visit`, or of an interface that is there.
fn for_each_classifier(
    dir: &PinDir,
    mut visit: impl FnMut(u32, &OwnedFd) -> Result<()>,
) -> Result<()> {
    for link in netlink::links()? {
        let Ok(dev) = IfName::parse("interface", &link.name) else { continue };
        // A reload may replace the classifier between the query and the opening: ask twice.
        let classifier = tc_program(dir, &dev).or_else(|_| tc_program(dir, &dev));
        let visited = match &classifier {
            Ok(Some((id, program))) => visit(*id, program),
            Err(_) if device::exists(link.ifindex) => classifier.map(drop),
            _ => Ok(()),
        };
        visited.map_err(|err| open_files::exhausted_limit().map_or(err, too_many_files))?;
    }
    Ok(())
}

fn too_many_files(limit: u64) -> Error {
    let why = format!("each interface takes an open file, and the limit is {limit}");
    Error::other("--follow", why, "raise it: ulimit -n, or LimitNOFILE= of the unit")
}

/// Returns the program array of a classifier; `None` if the classifier is a predecessor's.
fn follow_array(program: &OwnedFd) -> Result<Option<MapHandle>> {
    let what = || "find the classifier's program array";
    let needed = [Capability::CAP_SYS_ADMIN];
    let ids = program_maps(program).map_err(|err| Error::other(what(), err, ""))?;
    for id in ids {
        let map = MapHandle::from_map_id(id)
            .map_err(|err| Error::other(what(), err, "").or_missing(&needed))?;
        if map.map_type() == MapType::ProgArray && map.name().to_string_lossy() == FOLLOW_ARRAY {
            return Ok(Some(map));
        }
    }
    Ok(None)
}

/// Writes the follower's program into a classifier's array.
///
/// # Errors
/// [`Error::Other`]: the array has a program of another follower; [`Error::Map`]: the kernel
/// refuses.
fn enter(array: &MapHandle, programs: &StreamPrograms) -> Result<()> {
    let Some(program) = programs.get(StreamProgram::Follow) else { return Ok(()) };
    let (key, value) = (0u32.to_ne_bytes(), program.as_raw_fd().to_ne_bytes());
    if is_taken(array) {
        let why = "the shaper has a follower already";
        return Err(Error::other("--follow", why, "end it first: pkill -f 'xdp_pping.*--follow'"));
    }
    array
        .update(&key, &value, MapFlags::ANY)
        .map_err(|err| Error::map("put the follower behind the classifier", err, ""))
}
