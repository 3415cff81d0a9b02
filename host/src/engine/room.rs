//! The memory that the limits around this process still leave.
//!
//! Threat: a compiler that takes more memory than its container has left. The kernel then ends a process, and since
//! Kubernetes 1.28 the whole container with it (`memory.oom.group`). So the limits are read before: those of this
//! process's control group and of all groups around it, for both versions of control groups, and the free memory of the
//! machine.
//!
//! The use of a group is counted as Kubernetes counts it: without the pages of files that the kernel drops first.

use std::path::{Component, Path, PathBuf};

/// The limit that leaves the least memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// The bytes that are still free.
    pub(super) left: u64,
    /// The limit, in bytes.
    pub(super) limit: u64,
    /// The owner of the limit: a group's directory, or the machine.
    pub(super) of: String,
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, which leaves {} MiB of its {} MiB", self.of, self.left >> 20, self.limit >> 20)
    }
}

impl Room {
    /// Reads all limits below `root`, which is `/` except in tests. Returns `None` if there are none.
    pub(super) fn read(root: &Path) -> Option<Self> {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        let directories = directories(
            &text("proc/self/cgroup").unwrap_or_default(),
            &text("proc/self/mountinfo").unwrap_or_default(),
        );
        let groups = directories.iter().filter_map(|(version, directory)| version.room(root, directory));
        let machine = text("proc/meminfo").and_then(|text| machine(&text));
        groups.chain(machine).min_by_key(|room| room.left)
    }
}

/// A version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// Returns the memory that the limit of the group in `directory` leaves, if it has a limit.
    fn room(self, root: &Path, directory: &Path) -> Option<Room> {
        let (limit, used, dropped) = match self {
            Self::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            Self::Two => ("memory.max", "memory.current", "inactive_file"),
        };
        let folder = root.join(directory.strip_prefix("/").unwrap_or(directory));
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        // Version 2 writes `max` where there is no limit, version 1 a number beyond any machine.
        let limit = text(limit)?.trim().parse::<u64>().ok().filter(|limit| *limit < i64::MAX as u64 / 2)?;
        let used = text(used)?.trim().parse::<u64>().ok()?;
        let dropped = text("memory.stat").and_then(|text| field(&text, dropped)).unwrap_or_default();
        let left = limit.saturating_sub(used.saturating_sub(dropped));
        Some(Room { left, limit, of: format!("control group {}", directory.display()) })
    }
}

/// Returns the number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

/// Returns the machine's free memory from `/proc/meminfo`, which counts in KiB.
fn machine(text: &str) -> Option<Room> {
    let bytes = |name| Some(field(text, name)?.saturating_mul(1024));
    Some(Room { left: bytes("MemAvailable:")?, limit: bytes("MemTotal:")?, of: "this machine".to_owned() })
}

/// Returns the directories of this process's groups that may limit memory, and of the groups around them, from
/// `/proc/self/cgroup` and `/proc/self/mountinfo` (proc(5), cgroups(7)).
fn directories(groups: &str, mounts: &str) -> Vec<(Version, PathBuf)> {
    let mut found = Vec::new();
    for (version, group) in groups.lines().filter_map(group) {
        for mount in mounts.lines().filter_map(Mount::parse).filter(|mount| mount.version == version) {
            // If the group lies outside of the mount, only the mount itself is visible.
            let below = Path::new(&group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
            let outside = below.components().any(|part| part == Component::ParentDir);
            let own = mount.point.join(if outside { Path::new("") } else { below });
            let around = own.ancestors().take_while(|directory| directory.starts_with(&mount.point));
            found.extend(around.map(|directory| (version, directory.to_owned())));
        }
    }
    found
}

/// Parses a line `ID:CONTROLLERS:PATH` of a group that may limit memory.
fn group(line: &str) -> Option<(Version, String)> {
    let (id, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    match (id, controllers) {
        ("0", "") => Some((Version::Two, path.to_owned())),
        _ if controllers.split(',').any(|controller| controller == "memory") => Some((Version::One, path.to_owned())),
        _ => None,
    }
}

/// A mount of control groups.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group at the root of the mount.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// Parses `ID PARENT DEVICE ROOT POINT OPTIONS [FIELDS…] - TYPE SOURCE SUPER-OPTIONS`.
    fn parse(line: &str) -> Option<Self> {
        let (first, second) = line.split_once(" - ")?;
        let mut first = first.split(' ').skip(3);
        let (root, point) = (unescaped(first.next()?), unescaped(first.next()?));
        let mut second = second.split(' ');
        let version = match (second.next()?, second.nth(1)?) {
            ("cgroup2", _) => Version::Two,
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, root, point })
    }
}

/// Decodes a path of mountinfo, in which spaces, tabs, line breaks and backslashes are `\040` and so on.
fn unescaped(path: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.into_iter().fold(path.to_owned(), |path, (escape, letter)| path.replace(escape, letter)).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const V2: &str = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "40 32 0:35 / /sys/fs/cgroup/memory rw shared:15 - cgroup cgroup rw,memory\n";
    const V1_OF_CONTAINER: &str =
        "840 831 0:35 /kubepods/pod1/ctr /sys/fs/cgroup/memory ro master:15 - cgroup cgroup rw,memory\n";

    #[test]
    fn the_groups_around_a_process_are_found_as_they_are_mounted() {
        let table: [(&str, &str, &[&str]); 8] = [
            ("0::/\n", V2, &["/sys/fs/cgroup"]),
            ("0::/a/b\n", V2, &["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"]),
            // Version 1 without a namespace of its own: the path is the host's, and the mount begins there.
            ("5:memory:/kubepods/pod1/ctr\n0::/\n", V1_OF_CONTAINER, &["/sys/fs/cgroup/memory"]),
            (
                "5:memory:/kubepods/pod1/ctr/in\n",
                V1_OF_CONTAINER,
                &["/sys/fs/cgroup/memory/in", "/sys/fs/cgroup/memory"],
            ),
            ("4:cpu,memory:/x\n3:pids:/y\n", V1, &["/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/memory"]),
            ("0::/../../other\n", V2, &["/sys/fs/cgroup"]),
            ("5:memory:/elsewhere\n", V1_OF_CONTAINER, &["/sys/fs/cgroup/memory"]),
            ("3:pids:/y\n", V1, &[]),
        ];
        for (groups, mounts, expected) in table {
            let found: Vec<_> = directories(groups, mounts).into_iter().map(|(_, path)| path).collect();
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{groups}");
        }
    }

    #[test]
    fn a_mount_is_read_whatever_stands_around_it() {
        let spaced = "1 2 0:1 / /a\\040b rw - cgroup2 none rw";
        assert_eq!(Mount::parse(spaced).unwrap().point, Path::new("/a b"));
        for none in
            ["", "-", "1 2 3 / /x rw - ext4 /dev/sda rw", "1 2 3 / - cgroup2 x rw", "1 2 0:1 / /c rw - cgroup c rw,cpu"]
        {
            assert_eq!(Mount::parse(none), None, "{none}");
        }
    }

    /// A tree of files below a directory.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_limit_counts_whoever_set_it() {
        let (max, current, stat) = ("memory.max", "memory.current", "memory.stat");
        let in_group = |group: &str, name: &str| format!("sys/fs/cgroup{group}/{name}");
        let root = tree(&[
            ("proc/self/cgroup", "0::/pod/ctr\n"),
            ("proc/self/mountinfo", V2),
            ("proc/meminfo", "MemTotal: 8000 kB\nMemFree: 1 kB\nMemAvailable: 4000 kB\n"),
            (&in_group("/pod/ctr", max), "max\n"),
            (&in_group("/pod/ctr", current), "1000\n"),
            (&in_group("/pod", max), "1000000\n"),
            (&in_group("/pod", current), "900000\n"),
            (&in_group("/pod", stat), "anon 5\ninactive_file 300000\nactive_file 7\n"),
        ]);
        let room = Room::read(root.path()).unwrap();
        assert_eq!((room.left, room.limit), (400_000, 1_000_000));
        assert_eq!(room.of, "control group /sys/fs/cgroup/pod");
    }

    #[test]
    fn without_a_limit_it_is_the_machine_and_without_any_file_nothing() {
        let root = tree(&[
            ("proc/self/cgroup", "5:memory:/\n"),
            ("proc/self/mountinfo", V1),
            ("proc/meminfo", "MemTotal: 8000 kB\nMemAvailable: 4000 kB\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n"),
        ]);
        assert_eq!(
            Room::read(root.path()).unwrap(),
            Room { left: 4_096_000, limit: 8_192_000, of: "this machine".into() }
        );
        std::fs::write(root.path().join("sys/fs/cgroup/memory/memory.limit_in_bytes"), "3000000").unwrap();
        assert_eq!(Room::read(root.path()).unwrap().left, 2_999_995);
        assert_eq!(Room::read(tree(&[]).path()), None);
    }
}
