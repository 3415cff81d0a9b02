//! `wasi:filesystem` over the tree. Everything that would change something fails with `read-only`, as in a container
//! whose root file system is read-only.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, IoError};

use super::ctx::FilesystemCtxView;
use super::error::{ErrorCode, FilesystemError, of_reading};
use super::open::{FileStream, MAX_READ, OpenFile, slice};
use super::tree::{Directory, File, Node};
use super::walk::{Found, Resolved, resolve, revisit};
use crate::capability::bindings::{filesystem as types, preopens};

type Result<T, E = FilesystemError> = std::result::Result<T, E>;

/// An open file or directory of a guest.
#[derive(Debug)]
pub enum Descriptor {
    /// A directory: the path to it. What lies there is looked up at each use, so that a handle holds nothing open.
    #[doc(hidden)]
    Directory(Place),
    /// A file: its bytes.
    #[doc(hidden)]
    File(OpenedFile),
}

/// The path from the root, without links and dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Box<[String]>);

/// A file as it was when it was opened.
#[derive(Clone, Debug)]
pub struct OpenedFile {
    identity: Identity,
    modified: SystemTime,
    file: Arc<OpenFile>,
}

/// A place in the listing of a directory.
#[derive(Debug)]
pub struct Listing {
    directory: Place,
    /// The name that was read last.
    last: Option<String>,
}

/// A hash of a file's place and time: two that are the same are the same file, in the same version of its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    lower: u64,
    upper: u64,
}

impl Identity {
    fn of(path: &[String], modified: SystemTime) -> Self {
        let hash = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, path, modified).hash(&mut hasher);
            hasher.finish()
        };
        Self { lower: hash(0), upper: hash(1) }
    }
}

impl From<Identity> for types::MetadataHashValue {
    fn from(identity: Identity) -> Self {
        Self { lower: identity.lower, upper: identity.upper }
    }
}

fn stat(kind: types::DescriptorType, size: usize, modified: Option<SystemTime>) -> types::DescriptorStat {
    let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    let time = since.map(|since| Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() });
    types::DescriptorStat {
        type_: kind,
        link_count: 1,
        size: size as u64,
        data_access_timestamp: time,
        data_modification_timestamp: time,
        status_change_timestamp: time,
    }
}

fn stat_of(found: &Found) -> Result<types::DescriptorStat, ErrorCode> {
    Ok(match found {
        Found::Directory(directory) => stat(types::DescriptorType::Directory, 0, Some(directory.modified)),
        Found::Link(target) => stat(types::DescriptorType::SymbolicLink, target.len(), None),
        Found::File(file) => {
            let size = file.data.as_ref().map_or(0, bytes::Bytes::len);
            stat(types::DescriptorType::RegularFile, size, Some(file.modified))
        }
    })
}

fn kind(node: &Node) -> types::DescriptorType {
    match node {
        Node::Directory(_) | Node::Mount(_) => types::DescriptorType::Directory,
        Node::File(_) => types::DescriptorType::RegularFile,
        Node::Link(_) => types::DescriptorType::SymbolicLink,
    }
}

impl FilesystemCtxView<'_> {
    fn descriptor(&self, handle: &Resource<Descriptor>) -> Result<&Descriptor> {
        Ok(self.table.get(handle)?)
    }

    fn file(&self, handle: &Resource<Descriptor>) -> Result<&OpenedFile> {
        match self.descriptor(handle)? {
            Descriptor::File(file) => Ok(file),
            Descriptor::Directory(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    fn place(&self, handle: &Resource<Descriptor>) -> Result<&Place> {
        match self.descriptor(handle)? {
            Descriptor::Directory(place) => Ok(place),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn resolve(&self, handle: &Resource<Descriptor>, path: &str, follow: bool) -> Result<Resolved> {
        Ok(resolve(&self.ctx.root, &self.place(handle)?.0, path, follow)?)
    }

    fn directory(&self, place: &Place) -> Result<Arc<Directory>, ErrorCode> {
        revisit(&self.ctx.root, &place.0)
    }

    /// What any change comes to: the handles have to be good all the same.
    fn read_only<T>(&self, handle: &Resource<Descriptor>) -> Result<T> {
        self.descriptor(handle)?;
        Err(ErrorCode::ReadOnly.into())
    }

    /// What making `path` comes to: the errors of a path that cannot be made come first, as on any read-only file
    /// system.
    fn make<T>(&self, handle: &Resource<Descriptor>, path: &str) -> Result<T> {
        let trimmed = path.trim_end_matches('/');
        match self.resolve(handle, trimmed, false) {
            Ok(_) => Err(ErrorCode::Exist.into()),
            Err(FilesystemError::Code(ErrorCode::NoEntry)) if !trimmed.is_empty() => {
                let parent = trimmed.rsplit_once('/').map_or(".", |(parent, _)| parent);
                match self.resolve(handle, parent, true)?.found {
                    Found::Directory(_) => Err(ErrorCode::ReadOnly.into()),
                    _ => Err(ErrorCode::NotDirectory.into()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// What changing what lies at `path` comes to.
    fn change<T>(&self, handle: &Resource<Descriptor>, path: &str, follow: bool) -> Result<T> {
        self.resolve(handle, path, follow)?;
        Err(ErrorCode::ReadOnly.into())
    }

    fn open(&self, path: &[String], file: &File) -> Result<Descriptor, ErrorCode> {
        let data = file.data.clone().map_err(of_reading)?;
        let identity = Identity::of(path, file.modified);
        let file = OpenedFile { identity, modified: file.modified, file: self.ctx.files.open(data)? };
        Ok(Descriptor::File(file))
    }

    fn identity(&self, descriptor: &Descriptor) -> Result<Identity, ErrorCode> {
        match descriptor {
            Descriptor::File(file) => Ok(file.identity),
            Descriptor::Directory(place) => Ok(Identity::of(&place.0, self.directory(place)?.modified)),
        }
    }
}

fn follows(flags: types::PathFlags) -> bool {
    flags.contains(types::PathFlags::SYMLINK_FOLLOW)
}

impl types::Host for FilesystemCtxView<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<ErrorCode> {
        match error {
            FilesystemError::Code(code) => Ok(code),
            FilesystemError::Trap(trap) => Err(trap),
        }
    }

    /// No stream over a file of this file system fails but by its end.
    fn filesystem_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        self.table.get(&error)?;
        Ok(None)
    }
}

impl preopens::Host for FilesystemCtxView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let root = self.table.push(Descriptor::Directory(Place(Box::default())))?;
        Ok(vec![(root, "/".to_owned())])
    }
}

impl types::HostDescriptor for FilesystemCtxView<'_> {
    fn read_via_stream(&mut self, handle: Resource<Descriptor>, offset: u64) -> Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(FileStream::new(Arc::clone(&self.file(&handle)?.file), offset));
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(&mut self, handle: Resource<Descriptor>, _offset: u64) -> Result<Resource<DynOutputStream>> {
        self.read_only(&handle)
    }

    fn append_via_stream(&mut self, handle: Resource<Descriptor>) -> Result<Resource<DynOutputStream>> {
        self.read_only(&handle)
    }

    fn advise(&mut self, handle: Resource<Descriptor>, _: u64, _: u64, _: types::Advice) -> Result<()> {
        match self.descriptor(&handle)? {
            Descriptor::File(_) => Ok(()),
            Descriptor::Directory(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    fn sync_data(&mut self, handle: Resource<Descriptor>) -> Result<()> {
        self.descriptor(&handle).map(drop)
    }

    fn sync(&mut self, handle: Resource<Descriptor>) -> Result<()> {
        self.descriptor(&handle).map(drop)
    }

    fn get_flags(&mut self, handle: Resource<Descriptor>) -> Result<types::DescriptorFlags> {
        self.descriptor(&handle)?;
        Ok(types::DescriptorFlags::READ)
    }

    fn get_type(&mut self, handle: Resource<Descriptor>) -> Result<types::DescriptorType> {
        Ok(match self.descriptor(&handle)? {
            Descriptor::Directory(_) => types::DescriptorType::Directory,
            Descriptor::File(_) => types::DescriptorType::RegularFile,
        })
    }

    fn set_size(&mut self, handle: Resource<Descriptor>, _size: u64) -> Result<()> {
        self.read_only(&handle)
    }

    fn set_times(
        &mut self,
        handle: Resource<Descriptor>,
        _access: types::NewTimestamp,
        _modification: types::NewTimestamp,
    ) -> Result<()> {
        self.read_only(&handle)
    }

    fn read(&mut self, handle: Resource<Descriptor>, length: u64, offset: u64) -> Result<(Vec<u8>, bool)> {
        let data = &self.file(&handle)?.file.data;
        let read = slice(data, offset, usize::try_from(length).unwrap_or(usize::MAX).min(MAX_READ));
        let at_end = offset.saturating_add(read.len() as u64) >= data.len() as u64;
        Ok((read.to_vec(), at_end))
    }

    fn write(&mut self, handle: Resource<Descriptor>, _buffer: Vec<u8>, _offset: u64) -> Result<u64> {
        self.read_only(&handle)
    }

    fn read_directory(&mut self, handle: Resource<Descriptor>) -> Result<Resource<Listing>> {
        let directory = self.place(&handle)?.clone();
        self.directory(&directory)?;
        Ok(self.table.push(Listing { directory, last: None })?)
    }

    fn create_directory_at(&mut self, handle: Resource<Descriptor>, path: String) -> Result<()> {
        self.make(&handle, &path)
    }

    fn stat(&mut self, handle: Resource<Descriptor>) -> Result<types::DescriptorStat> {
        Ok(match self.descriptor(&handle)? {
            Descriptor::File(file) => {
                stat(types::DescriptorType::RegularFile, file.file.data.len(), Some(file.modified))
            }
            Descriptor::Directory(place) => stat_of(&Found::Directory(self.directory(place)?))?,
        })
    }

    fn stat_at(
        &mut self,
        handle: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> Result<types::DescriptorStat> {
        Ok(stat_of(&self.resolve(&handle, &path, follows(flags))?.found)?)
    }

    fn set_times_at(
        &mut self,
        handle: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        _access: types::NewTimestamp,
        _modification: types::NewTimestamp,
    ) -> Result<()> {
        self.change(&handle, &path, follows(flags))
    }

    fn link_at(
        &mut self,
        handle: Resource<Descriptor>,
        flags: types::PathFlags,
        old_path: String,
        other: Resource<Descriptor>,
        new_path: String,
    ) -> Result<()> {
        self.resolve(&handle, &old_path, follows(flags))?;
        self.make(&other, &new_path)
    }

    fn open_at(
        &mut self,
        handle: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
        open: types::OpenFlags,
        access: types::DescriptorFlags,
    ) -> Result<Resource<Descriptor>> {
        let resolved = match self.resolve(&handle, &path, follows(flags)) {
            // It would be made where it is not.
            Err(FilesystemError::Code(ErrorCode::NoEntry)) if open.contains(types::OpenFlags::CREATE) => {
                return self.make(&handle, &path);
            }
            resolved => resolved?,
        };
        if open.contains(types::OpenFlags::CREATE | types::OpenFlags::EXCLUSIVE) {
            return Err(ErrorCode::Exist.into());
        }
        let is_directory = matches!(resolved.found, Found::Directory(_));
        if is_directory && access.contains(types::DescriptorFlags::WRITE) {
            return Err(ErrorCode::IsDirectory.into());
        }
        if !is_directory && open.contains(types::OpenFlags::DIRECTORY) {
            return Err(ErrorCode::NotDirectory.into());
        }
        let changing = types::DescriptorFlags::WRITE | types::DescriptorFlags::MUTATE_DIRECTORY;
        if access.intersects(changing) || open.contains(types::OpenFlags::TRUNCATE) {
            return Err(ErrorCode::ReadOnly.into());
        }
        let descriptor = match &resolved.found {
            Found::Directory(_) => Descriptor::Directory(Place(resolved.path.into())),
            Found::Link(_) => return Err(ErrorCode::Loop.into()),
            Found::File(file) => self.open(&resolved.path, file)?,
        };
        Ok(self.table.push(descriptor)?)
    }

    fn readlink_at(&mut self, handle: Resource<Descriptor>, path: String) -> Result<String> {
        match self.resolve(&handle, &path, false)?.found {
            Found::Link(target) => Ok(target.to_string()),
            _ => Err(ErrorCode::Invalid.into()),
        }
    }

    fn remove_directory_at(&mut self, handle: Resource<Descriptor>, path: String) -> Result<()> {
        self.change(&handle, &path, false)
    }

    fn rename_at(
        &mut self,
        handle: Resource<Descriptor>,
        old_path: String,
        other: Resource<Descriptor>,
        _new_path: String,
    ) -> Result<()> {
        self.descriptor(&other)?;
        self.change(&handle, &old_path, false)
    }

    fn symlink_at(&mut self, handle: Resource<Descriptor>, _old_path: String, new_path: String) -> Result<()> {
        self.make(&handle, &new_path)
    }

    fn unlink_file_at(&mut self, handle: Resource<Descriptor>, path: String) -> Result<()> {
        self.change(&handle, &path, false)
    }

    fn is_same_object(&mut self, handle: Resource<Descriptor>, other: Resource<Descriptor>) -> wasmtime::Result<bool> {
        let (one, other) = (self.table.get(&handle)?, self.table.get(&other)?);
        Ok(match (one, other) {
            (Descriptor::Directory(one), Descriptor::Directory(other)) => one == other,
            (Descriptor::File(one), Descriptor::File(other)) => one.identity == other.identity,
            _ => false,
        })
    }

    fn metadata_hash(&mut self, handle: Resource<Descriptor>) -> Result<types::MetadataHashValue> {
        Ok(self.identity(self.descriptor(&handle)?)?.into())
    }

    fn metadata_hash_at(
        &mut self,
        handle: Resource<Descriptor>,
        flags: types::PathFlags,
        path: String,
    ) -> Result<types::MetadataHashValue> {
        let Resolved { path, found } = self.resolve(&handle, &path, follows(flags))?;
        let modified = match found {
            Found::Directory(directory) => directory.modified,
            Found::File(file) => file.modified,
            Found::Link(_) => UNIX_EPOCH,
        };
        Ok(Identity::of(&path, modified).into())
    }

    fn drop(&mut self, handle: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for FilesystemCtxView<'_> {
    fn read_directory_entry(&mut self, handle: Resource<Listing>) -> Result<Option<types::DirectoryEntry>> {
        let Listing { directory, last } = self.table.get(&handle)?;
        // A directory that is gone has no more entries.
        let Ok(found) = revisit(&self.ctx.root, &directory.0) else { return Ok(None) };
        let after = last.as_ref().map_or(Bound::Unbounded, |last| Bound::Excluded(last.clone()));
        let next = found.entries.range((after, Bound::Unbounded)).next();
        let Some((name, node)) = next else { return Ok(None) };
        self.table.get_mut(&handle)?.last = Some(name.clone());
        Ok(Some(types::DirectoryEntry { type_: kind(node), name: name.clone() }))
    }

    fn drop(&mut self, handle: Resource<Listing>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}
