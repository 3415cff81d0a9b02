//! Resident memory of this process, and components to fill it with.

/// The number of things of each kind that are measured together.
pub(crate) const MANY: usize = 100;

/// Resident memory in KiB, from `/proc/self/status`.
#[derive(Clone, Copy)]
pub(crate) struct Resident {
    whole: i64,
    anonymous: i64,
}

impl Resident {
    /// Reads the current value.
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self { whole: field("VmRSS:"), anonymous: field("RssAnon:") }
    }

    /// Prints the growth since `self` for each of [`MANY`] things.
    pub(crate) fn tell_growth(self, what: &str) {
        let now = Self::now();
        let each = |before: i64, after: i64| (after - before) as f64 / MANY as f64;
        println!(
            "{what}: {:.1} KiB each, of which {:.1} KiB not mapped from files",
            each(self.whole, now.whole),
            each(self.anonymous, now.anonymous)
        );
    }
}

/// Returns the same component with another custom section at its end: other bytes, another digest, another artefact.
pub(crate) fn distinct(component: &[u8], number: usize) -> Vec<u8> {
    let name = b"distinct";
    let payload = format!("{number:08}");
    let size = u8::try_from(1 + name.len() + payload.len()).unwrap();
    let head = [0, size, u8::try_from(name.len()).unwrap()];
    [component, &head, name, payload.as_bytes()].concat()
}
