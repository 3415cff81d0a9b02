//! Files that hold credentials.

use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};

/// The mode of a file that only this user may read or write.
const PRIVATE: u32 = 0o600;

/// Writes a file that only this user can read. An existing file of that name is replaced.
///
/// The text goes to a new file of mode 0600 in the same folder, which is then renamed. So the text never has the mode,
/// owner or hard links of an older file. A name that belongs to anything but a regular file is refused, because a
/// symbolic link leads to a file that another user may have chosen.
pub(crate) fn write(file: &Path, text: &[u8]) -> anyhow::Result<()> {
    refuse_what_is_no_file(file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = replace(file, folder, text);
    written.with_context(|| format!("cannot write {} (as a new file in {})", file.display(), folder.display()))
}

fn refuse_what_is_no_file(file: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(file) {
        Ok(found) if found.is_symlink() => {
            bail!("{} is a symbolic link, which is not written through: name the file itself", file.display())
        }
        Ok(found) if !found.is_file() => bail!("{} is no regular file: name another", file.display()),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot write {}", file.display()))
        }
        _ => Ok(()),
    }
}

fn replace(file: &Path, folder: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut new = tempfile::Builder::new();
    let mut new = new.prefix(".attache-").permissions(Permissions::from_mode(PRIVATE)).tempfile_in(folder)?;
    new.write_all(text)?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::fs;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_laxer_mode_is_not_kept_and_another_name_of_the_file_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("kubeconfig"), folder.path().join("other"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        fs::hard_link(&file, &other).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("new", 0o600));
        assert_eq!(fs::read_to_string(&other).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn links_folders_and_pipes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (elsewhere, link) = (folder.path().join("elsewhere"), folder.path().join("link"));
        fs::write(&elsewhere, "theirs").unwrap();
        for target in [elsewhere.clone(), folder.path().join("nothing")] {
            std::os::unix::fs::symlink(&target, &link).unwrap();
            let error = write(&link, b"secret").unwrap_err().to_string();
            assert!(error.contains("symbolic link"), "{error}");
            fs::remove_file(&link).unwrap();
        }
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for name in [folder.path(), &pipe] {
            let error = write(name, b"secret").unwrap_err().to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
    }
}
