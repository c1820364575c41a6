// SPDX-License-Identifier: GPL-2.0-only
//! The configuration of a loaded program of ours, of any ABI version: the variable `config` in its
//! `.rodata` (include/config.h). The program's own type information (BTF) says where its fields are.

use std::ffi::OsStr;

use libbpf_rs::btf::types::{Composite, DataSec, MemberAttr, Var};
use libbpf_rs::btf::{Btf, BtfType, ReferencesType};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::abi::maps;

/// What the configuration of every ABI version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramConfig {
    /// The ABI version that the program was made for.
    pub abi_version: u32,
    /// The program measures RTTs.
    pub rtt: bool,
    /// SYN and SYN-ACK open samples, too.
    pub handshake: bool,
}

impl ProgramConfig {
    /// Reads the configuration of the program with this id, which uses the maps with these ids. Returns
    /// `None` if it is not a program of ours, or without CAP_SYS_ADMIN.
    pub fn of(program: u32, maps: &[u32]) -> Option<Self> {
        let open = |id: &u32| MapHandle::from_map_id(*id).ok();
        let used: Vec<MapHandle> = maps.iter().filter_map(open).collect();
        let find =
            |is: &dyn Fn(&str) -> bool| used.iter().find(|map| is(&map.name().to_string_lossy()));
        find(&|name| name == maps::CONTROL)?;
        let rodata = find(&|name| name.ends_with(".rodata"))?;
        let bytes = rodata.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok()??;
        let btf = Btf::from_prog_id(program).ok()?;
        Self::read(&Fields::of(&btf)?, &bytes)
    }

    fn read(fields: &Fields<'_>, rodata: &[u8]) -> Option<Self> {
        let flag = |name: &str| Some(*rodata.get(fields.offset(name)?)? != 0);
        let abi_version = match fields.offset("abi_version") {
            Some(at) => u32::from_ne_bytes(rodata.get(at..at + 4)?.try_into().ok()?),
            None => 1,
        };
        Some(Self { abi_version, rtt: flag("rtt")?, handshake: flag("handshake")? })
    }
}

/// The variable `config`: its offset in `.rodata`, and its type.
struct Fields<'btf> {
    offset: usize,
    config: Composite<'btf>,
}

impl<'btf> Fields<'btf> {
    fn of(btf: &'btf Btf<'_>) -> Option<Self> {
        let section: DataSec<'btf> = btf.type_by_name(".rodata")?;
        let variables = section.iter().map(|place| (place.offset, place.ty)).collect::<Vec<_>>();
        variables.into_iter().find_map(|(offset, id)| {
            let variable: Var<'btf> = btf.type_by_id(id)?;
            let is_config = variable.name() == Some(OsStr::new("config"));
            let of_type: BtfType<'btf> = variable.referenced_type().skip_mods_and_typedefs();
            let config = Composite::try_from(of_type).ok().filter(|_| is_config)?;
            Some(Self { offset: offset as usize, config })
        })
    }

    /// Returns the offset of a field in `.rodata`.
    fn offset(&self, name: &str) -> Option<usize> {
        let field = self.config.iter().find(|field| field.name == Some(OsStr::new(name)))?;
        match field.attr {
            MemberAttr::Normal { offset } => Some(self.offset + offset as usize / 8),
            MemberAttr::BitField { .. } => None,
        }
    }
}
