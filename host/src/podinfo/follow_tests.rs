//! The events of the volume's directory that count.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, MetadataKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, EventKind};

use super::{Told, is_told_of, told};

const DIR: &str = "/etc/podinfo";

fn event(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(Path::new(DIR).join(path))
}

#[test]
fn the_swap_counts_and_the_way_to_it_does_not() {
    let created = EventKind::Create(CreateKind::Any);
    let removed = EventKind::Remove(RemoveKind::Any);
    let renamed_to = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    let renamed_from = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let table = [
        (created, "..2026_01_01_00_00_00.1", Told::Nothing),
        (created, "..data_tmp", Told::Nothing),
        (renamed_from, "..data_tmp", Told::Nothing),
        (renamed_to, "..data", Told::Change),
        (created, "..data", Told::Change),
        (removed, "..data", Told::Change),
        (removed, "..2026_01_01_00_00_00.0", Told::Nothing),
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), "..2026_01_01_00_00_00.0", Told::Nothing),
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), "labels", Told::Nothing),
        (EventKind::Access(AccessKind::Close(AccessMode::Read)), "labels", Told::Nothing),
        (EventKind::Modify(ModifyKind::Data(DataChange::Any)), "labels", Told::Nothing),
        (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "labels", Told::Nothing),
        (created, "labels", Told::Nothing),
        (written, "labels", Told::Change),
        (renamed_to, "labels", Told::Change),
        (removed, "labels", Told::Change),
    ];
    for (kind, path, expected) in table {
        assert_eq!(told(&event(kind, path), Path::new(DIR)), expected, "{kind:?} {path}");
    }
}

#[test]
fn the_directory_itself_going_away_loses_the_watch() {
    let removed = Event::new(EventKind::Remove(RemoveKind::Folder)).add_path(DIR.into());
    let moved = Event::new(EventKind::Modify(ModifyKind::Name(RenameMode::From))).add_path(DIR.into());
    let touched = Event::new(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any))).add_path(DIR.into());
    assert_eq!(told(&removed, Path::new(DIR)), Told::Lost);
    assert_eq!(told(&moved, Path::new(DIR)), Told::Lost);
    assert_eq!(told(&touched, Path::new(DIR)), Told::Nothing);
}

#[test]
fn events_that_were_lost_count_as_a_change() {
    let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert_eq!(told(&overflow, Path::new(DIR)), Told::Change);
}

#[test]
fn a_local_file_system_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    assert!(is_told_of(dir.path()));
}
