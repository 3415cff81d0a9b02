#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{AtomicWriter, File, InvalidPath, MAX_FILE, RelativePath, Version, VolumeError, read_consistently};

type Files = BTreeMap<RelativePath, File>;

fn path(text: &str) -> RelativePath {
    RelativePath::new(text).unwrap()
}

fn files(list: &[(&str, &str)]) -> Files {
    let projection = |text: &str| File { data: text.into(), mode: 0o644 };
    list.iter().map(|(name, text)| (path(name), projection(text))).collect()
}

fn volume() -> (tempfile::TempDir, AtomicWriter) {
    let directory = tempfile::tempdir().unwrap();
    let writer = AtomicWriter::open(directory.path()).unwrap();
    (directory, writer)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_volume_is_laid_out_as_the_kubelet_does() {
    let (directory, writer) = volume();
    assert!(writer.write(&files(&[("labels", "a=\"b\""), ("deep/er/file", "x"), ("deep/other", "y")])).unwrap());

    let data = fs::read_link(directory.path().join("..data")).unwrap();
    let dated = data.to_str().unwrap();
    assert_eq!(names(directory.path()), [dated, "..data", "deep", "labels"]);
    let shape: String = dated.chars().take(22).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "..0000_00_00_00_00_00.");
    assert_eq!(fs::read_link(directory.path().join("labels")).unwrap(), Path::new("..data/labels"));
    assert_eq!(fs::read_link(directory.path().join("deep")).unwrap(), Path::new("..data/deep"));
    assert_eq!(fs::read_to_string(directory.path().join("deep/er/file")).unwrap(), "x");
    assert_eq!(fs::metadata(directory.path().join("..data/")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn modes_are_set_whatever_the_umask() {
    let (directory, writer) = volume();
    let mut set = files(&[("wide", "1"), ("narrow", "2")]);
    set.get_mut(&path("wide")).unwrap().mode = 0o777;
    set.get_mut(&path("narrow")).unwrap().mode = 0o400;
    writer.write(&set).unwrap();
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("wide"), mode("narrow")), (0o777, 0o400));
    set.get_mut(&path("narrow")).unwrap().mode = 0o4755;
    assert!(writer.write(&set).unwrap());
    assert_eq!(mode("narrow"), 0o755);
}

#[test]
fn an_update_replaces_the_set_and_leaves_nothing_behind() {
    let (directory, writer) = volume();
    writer.write(&files(&[("a", "1"), ("b/c", "2")])).unwrap();
    let before = fs::read_link(directory.path().join("..data")).unwrap();
    assert!(writer.write(&files(&[("a", "new"), ("d", "3")])).unwrap());
    let after = fs::read_link(directory.path().join("..data")).unwrap();
    assert_ne!(before, after);
    assert_eq!(names(directory.path()), [after.to_str().unwrap(), "..data", "a", "d"]);
    assert_eq!(fs::read_to_string(directory.path().join("a")).unwrap(), "new");
}

#[test]
fn unchanged_content_is_not_written_again() {
    let (directory, writer) = volume();
    let set = files(&[("a", "1"), ("b/c", "2")]);
    assert!(writer.write(&set).unwrap());
    let before = fs::read_link(directory.path().join("..data")).unwrap();
    assert!(!writer.write(&set).unwrap());
    assert_eq!(before, fs::read_link(directory.path().join("..data")).unwrap());
    assert!(writer.write(&files(&[("a", "1")])).unwrap());
    assert!(!writer.write(&files(&[("a", "1")])).unwrap());
}

#[test]
fn an_empty_set_is_a_volume_too() {
    let (directory, writer) = volume();
    assert!(writer.write(&Files::new()).unwrap());
    assert!(!writer.write(&Files::new()).unwrap());
    assert!(Version::newest(directory.path()).unwrap().files().unwrap().is_empty());
}

#[test]
fn a_writer_takes_up_where_one_was_killed() {
    let (directory, writer) = volume();
    writer.write(&files(&[("a", "1")])).unwrap();
    symlink("nowhere", directory.path().join("..data_tmp")).unwrap();
    assert!(writer.write(&files(&[("a", "2")])).unwrap());
    assert_eq!(fs::read_to_string(directory.path().join("a")).unwrap(), "2");
}

#[test]
fn a_data_link_that_leads_out_is_neither_read_nor_deleted() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    let (directory, writer) = volume();
    for target in [outside.path().to_str().unwrap(), "..", "../x", ".", "/"] {
        let link = directory.path().join("..data");
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        assert!(matches!(Version::newest(directory.path()), Err(VolumeError::Escapes { .. })), "{target}");
        assert!(matches!(writer.write(&files(&[("a", "1")])), Err(VolumeError::Escapes { .. })), "{target}");
    }
    assert!(outside.path().join("secret").exists());
}

#[test]
fn no_link_inside_a_version_is_followed() {
    let (directory, writer) = volume();
    writer.write(&files(&[("real", "1"), ("sub/file", "2")])).unwrap();
    let inside = directory.path().join("..data/");
    symlink("/etc/passwd", inside.join("file-link")).unwrap();
    symlink("/etc", inside.join("etc")).unwrap();
    symlink("real", inside.join("near")).unwrap();
    let version = Version::newest(directory.path()).unwrap();
    for link in ["file-link", "etc/passwd", "near", "sub"] {
        assert!(matches!(version.read(&path(link)), Err(VolumeError::Escapes { .. })), "{link}");
    }
    assert_eq!(version.files().unwrap(), [path("real"), path("sub/file")]);
    assert_eq!(version.read(&path("sub/file")).unwrap().data, b"2");
    assert!(matches!(version.read(&path("none")), Err(VolumeError::Missing { .. })));
}

#[test]
fn a_file_is_read_up_to_its_bound() {
    let (directory, writer) = volume();
    writer.write(&files(&[("large", "")])).unwrap();
    let file = fs::OpenOptions::new().write(true).open(directory.path().join("large")).unwrap();
    file.set_len(MAX_FILE).unwrap();
    let version = Version::newest(directory.path()).unwrap();
    assert_eq!(version.read(&path("large")).unwrap().data.len(), usize::try_from(MAX_FILE).unwrap());
    file.set_len(MAX_FILE + 1).unwrap();
    assert!(matches!(version.read(&path("large")), Err(VolumeError::TooLarge { .. })));
}

#[test]
fn a_plain_directory_is_its_own_version() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("labels"), "a=\"b\"").unwrap();
    let version = Version::newest(directory.path()).unwrap();
    assert_eq!(version.name(), None);
    assert_eq!(version.read(&path("labels")).unwrap().data, b"a=\"b\"");

    fs::create_dir(directory.path().join("..data")).unwrap();
    fs::write(directory.path().join("..data/labels"), "copied").unwrap();
    assert_eq!(Version::newest(directory.path()).unwrap().read(&path("labels")).unwrap().data, b"copied");
    assert!(matches!(Version::newest(&directory.path().join("none")), Err(VolumeError::Io { .. })));
}

#[test]
fn a_version_says_when_it_is_no_longer_current() {
    let (directory, writer) = volume();
    writer.write(&files(&[("a", "1")])).unwrap();
    let version = Version::newest(directory.path()).unwrap();
    assert!(version.is_current());
    writer.write(&files(&[("a", "2")])).unwrap();
    assert!(!version.is_current());
    assert!(matches!(version.read(&path("a")), Err(VolumeError::Missing { .. })));
}

#[test]
fn what_one_read_sees_belongs_together() {
    let (directory, writer) = volume();
    writer.write(&files(&[("one", "0"), ("two", "0")])).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..400 {
                let text = round.to_string();
                writer.write(&files(&[("one", &text), ("two", &text)])).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let read = read_consistently(directory.path(), |version| {
                Ok((version.read(&path("one"))?.data, version.read(&path("two"))?.data))
            });
            match read {
                Ok((one, two)) => assert_eq!(one, two),
                Err(error) => assert!(matches!(error, VolumeError::Restless { .. }), "{error}"),
            }
        }
    });
}

#[test]
fn a_path_stays_below_the_volume() {
    let table = [
        ("labels", Ok("labels")),
        ("a//b/./c/", Ok("a/b/c")),
        ("a..b", Ok("a..b")),
        ("a/..b", Ok("a/..b")),
        ("", Err(InvalidPath::Empty)),
        ("./", Err(InvalidPath::Empty)),
        ("/etc", Err(InvalidPath::Absolute("/etc".into()))),
        ("a/../b", Err(InvalidPath::Parent("a/../b".into()))),
        ("..", Err(InvalidPath::Parent("..".into()))),
        ("..data", Err(InvalidPath::Reserved("..data".into()))),
        ("./..data", Err(InvalidPath::Reserved("./..data".into()))),
        ("a\0b", Err(InvalidPath::Zero("a\0b".into()))),
    ];
    for (text, expected) in table {
        assert_eq!(RelativePath::new(text), expected.map(path), "{text:?}");
    }
    assert_eq!(RelativePath::new(&"x".repeat(256)), Err(InvalidPath::TooLong));
    assert_eq!(RelativePath::new(&"x/".repeat(2100)), Err(InvalidPath::TooLong));
}
