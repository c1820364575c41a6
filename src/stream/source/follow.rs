// SPDX-License-Identifier: GPL-2.0-only
//! Following a shaper: our program behind its classifiers.
//!
//! Each classifier ends in a tail call into its own `cpp_follow`, a program array that is not pinned.
//! While a follower holds a descriptor of the array, its program is called; when the last one
//! closes, after a crash as well, the kernel empties the array.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use caps::Capability;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::abi::programs::FOLLOW_ARRAY;
use crate::abi::{maps, FLOW_WAYS};
use crate::domain::error::{Error, Result};
use crate::domain::IfName;
use crate::kernel::netlink;
use crate::kernel::pin::PinDir;
use crate::kernel::program_info::program_maps;
use crate::kernel::tc::tc_program;
use crate::stream::source::live::Attachment;
use crate::stream::source::programs::{StreamProgram, StreamPrograms};

/// The classifiers that are followed, by their program's id.
pub struct Following {
    dir: PinDir,
    arrays: BTreeMap<u32, MapHandle>,
}

/// Places of the running flow table.
///
/// # Errors
/// [`Error::MapFile`]: nothing is loaded.
pub fn flow_places(dir: &PinDir) -> Result<u32> {
    match dir.try_open(maps::FLOW)? {
        Some(map) => Ok(map.max_entries() * FLOW_WAYS as u32),
        None => Err(Error::map_file(
            format!("open {}", dir.path_of(maps::FLOW).display()),
            "no such pin",
            "load the programs first: tc_classify --dev-egress IF",
        )),
    }
}

/// How many classifiers of this network namespace have a follower behind them.
///
/// # Errors
/// The interfaces or programs cannot be asked.
pub fn followed(dir: &PinDir) -> Result<usize> {
    let mut count = 0;
    for (_, program) in classifiers(dir)? {
        count += usize::from(follow_array(&program)?.is_some_and(|array| is_taken(&array)));
    }
    Ok(count)
}

fn is_taken(array: &MapHandle) -> bool {
    matches!(array.lookup(&0u32.to_ne_bytes(), MapFlags::ANY), Ok(Some(_)))
}

impl Following {
    /// Puts the follower behind the classifier of every interface.
    ///
    /// # Errors
    /// There is no classifier, or somebody else follows already.
    pub fn begin(dir: &PinDir, programs: &StreamPrograms) -> Result<Self> {
        let mut following = Self { dir: dir.clone(), arrays: BTreeMap::new() };
        following.join(programs)?;
        if following.arrays.is_empty() {
            let remedy = "attach it first: tc_classify --dev-egress IF";
            return Err(Error::other("--follow", "no interface has our classifier", remedy));
        }
        Ok(following)
    }

    /// Joins what has been attached since, and leaves what is gone.
    fn join(&mut self, programs: &StreamPrograms) -> Result<()> {
        let mut now = BTreeMap::new();
        for (id, program) in classifiers(&self.dir)? {
            let array = match self.arrays.remove(&id) {
                Some(array) => array,
                None => match stand_behind(&program, programs)? {
                    Some(array) => array,
                    None => continue,
                },
            };
            now.insert(id, array);
        }
        self.arrays = now;
        Ok(())
    }
}

impl Attachment for Following {
    /// A reload puts a new classifier in the place of the old one.
    fn check(&mut self, programs: &StreamPrograms) -> Result<()> {
        self.join(programs)
    }
}

/// Puts the follower behind one classifier, for as long as what this returns is held; `None`: the
/// classifier is of a version that cannot be followed.
///
/// # Errors
/// Somebody else follows already; the missing capability.
pub fn stand_behind(classifier: &OwnedFd, programs: &StreamPrograms) -> Result<Option<MapHandle>> {
    let array = follow_array(classifier)?;
    array.iter().try_for_each(|array| enter(array, programs))?;
    Ok(array)
}

/// The classifiers of all interfaces: id and program.
fn classifiers(dir: &PinDir) -> Result<Vec<(u32, OwnedFd)>> {
    let mut found = Vec::new();
    for link in netlink::links()? {
        let Ok(dev) = IfName::parse("interface", &link.name) else { continue };
        // One that vanishes meanwhile is not followed.
        if let Ok(Some(classifier)) = tc_program(dir, &dev) {
            found.push(classifier);
        }
    }
    Ok(found)
}

/// The program array of a classifier; `None`: it is of a version that has none.
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
