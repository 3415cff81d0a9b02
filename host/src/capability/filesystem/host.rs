//! `wasi:filesystem` over the tree. Every change fails with `read-only`, as in a container whose root file system is
//! read-only.

use std::ops::Bound;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, IoError};

use super::ctx::FilesystemCtxView;
use super::descriptor::{Descriptor, Identity, Listing, OpenedFile, PathFromRoot, kind, stat, stat_of};
use super::error::{ErrorCode, FilesystemError, of_reading};
use super::open::{FileStream, MAX_READ, slice};
use super::tree::{Directory, File};
use super::walk::{Found, Resolved, resolve, revisit};
use crate::capability::bindings::{filesystem as types, preopens};

type Result<T, E = FilesystemError> = std::result::Result<T, E>;

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

    fn path(&self, handle: &Resource<Descriptor>) -> Result<&PathFromRoot> {
        match self.descriptor(handle)? {
            Descriptor::Directory(path) => Ok(path),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn resolve(&self, handle: &Resource<Descriptor>, path: &str, follow: bool) -> Result<Resolved> {
        Ok(resolve(&self.ctx.root, &self.path(handle)?.0, path, follow)?)
    }

    fn directory(&self, path: &PathFromRoot) -> Result<Arc<Directory>, ErrorCode> {
        revisit(&self.ctx.root, &path.0)
    }

    /// Refuses a change of an open file. A broken handle is a trap all the same.
    fn read_only<T>(&self, handle: &Resource<Descriptor>) -> Result<T> {
        self.descriptor(handle)?;
        Err(ErrorCode::ReadOnly.into())
    }

    /// Refuses to make `path`. The errors of an impossible path come first, as on any read-only file system.
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

    /// Refuses to change the file at `path`.
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
            Descriptor::Directory(path) => Ok(Identity::of(&path.0, self.directory(path)?.modified)),
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

    /// Returns no code, because a stream over a file of this file system fails only by its end.
    fn filesystem_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        self.table.get(&error)?;
        Ok(None)
    }
}

impl preopens::Host for FilesystemCtxView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let root = self.table.push(Descriptor::Directory(PathFromRoot(Box::default())))?;
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
        let directory = self.path(&handle)?.clone();
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
            Descriptor::Directory(path) => stat_of(&Found::Directory(self.directory(path)?))?,
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
            // The file would be made, because it does not exist.
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
            Found::Directory(_) => Descriptor::Directory(PathFromRoot(resolved.path.into())),
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
        // A removed directory has no more entries.
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
