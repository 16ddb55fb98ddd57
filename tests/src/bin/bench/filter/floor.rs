//! A program of two instructions, to be run where the filter is: what it takes is the kernel's, not ours.

use aya::Ebpf;
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// Loads a program that returns `value`, under the names that an object has for it.
///
/// # Panics
/// The kernel has no such programs.
pub fn load(section: &str, program: &str, value: i32) -> Ebpf {
    Ebpf::load(&file(section, program, value)).expect("the kernel takes it")
}

/// The object file.
fn file(section: &str, program: &str, value: i32) -> Vec<u8> {
    let endianness = if cfg!(target_endian = "big") { Endianness::Big } else { Endianness::Little };
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, endianness);
    let id = object.add_section(vec![], section.into(), SectionKind::Text);
    let code = code(value);
    object.append_section_data(id, &code, 8);
    object.add_symbol(Symbol {
        name: program.into(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(id),
        flags: SymbolFlags::None,
    });
    object.write().expect("an object file")
}

/// `r0 = value; exit` (RFC 9669 sections 4.1 and 4.3): 32-bit mov, as both hooks return 32 bits.
fn code(value: i32) -> [u8; 16] {
    let mut code = [0xb4, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    code[4..8].copy_from_slice(&value.to_ne_bytes());
    code
}
