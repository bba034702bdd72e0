//! QUERY_DIRECTORY (MS-SMB2 3.3.5.18): lists a directory.

use std::sync::Arc;

use smb_backend::{BackendFile, DirCursor, DirEntry, Entry, Metadata, RelPath};
use smb_proto::{
    info::{DirectoryClass, DirectoryEntry, EntryWriter, Pushed},
    message::query_directory::{QueryDirectoryFlags, QueryDirectoryRequest, QueryDirectoryResponse},
    wildcard::Pattern,
};
use smb_types::{AccessMask, NtStatus};

use super::{RequestContext, io};
use crate::{
    access::Asker,
    blocking::blocking,
    error::Refusal,
    send::Response,
    state::{Enumeration, Open, enumeration::Source},
};

/// "." and "..", in the order in which they come.
const DOTS: [&str; 2] = [".", ".."];

/// Answers the request.
pub(crate) async fn handle(ctx: &mut RequestContext) -> Result<Response, Refusal> {
    let request = QueryDirectoryRequest::decode(&ctx.message)?;
    if request.output_buffer_length > ctx.negotiated().transact_bytes_max {
        return Err(Refusal::invalid("longer than MaxTransactSize"));
    }
    ctx.check_charge(0, u64::from(request.output_buffer_length))?;
    let open = ctx.open(request.file_id)?;
    let Some(class) = DirectoryClass::from_wire(request.information_class) else {
        return Err(Refusal::new(NtStatus::INVALID_INFO_CLASS, "no class of directories"));
    };
    if !open.is_directory {
        return Err(Refusal::invalid("not a directory"));
    }
    let directory = open.file_with(AccessMask::READ_DATA)?;
    if request.pattern.is_empty() || request.pattern.contains(['\\', '/']) {
        return Err(Refusal::new(NtStatus::OBJECT_NAME_INVALID, "no search pattern"));
    }
    let asker = ctx.asker()?;
    let path = io::current_path(&ctx.server, &open);
    let listing = Listing { open: &open, directory, asker: &asker, path: &path };
    let (output, status) = blocking(|| listing.list(&request, class))?;
    let response = QueryDirectoryResponse::new(output);
    Ok(Response::encode(status, |out| response.encode(out)))
}

/// One call's view of the directory.
struct Listing<'a> {
    open: &'a Open,
    directory: &'a Arc<dyn BackendFile>,
    asker: &'a Asker,
    path: &'a RelPath,
}

impl Listing<'_> {
    fn list(&self, request: &QueryDirectoryRequest, class: DirectoryClass) -> Result<(Vec<u8>, NtStatus), Refusal> {
        let restart = request.flags.intersects(QueryDirectoryFlags::RESTART_SCANS | QueryDirectoryFlags::REOPEN);
        let mut slot = self.open.enumeration.lock();
        // MS-SMB2 3.3.5.18
        // The pattern of the first call stays until the client starts anew.
        if restart || slot.is_none() {
            *slot = Some(self.begin(&request.pattern)?);
        }
        let enumeration = slot.as_mut().expect("made above");
        let single = request.flags.contains(QueryDirectoryFlags::RETURN_SINGLE_ENTRY);
        let mut list = EntryWriter::new(request.output_buffer_length, 8);
        let mut status = NtStatus::SUCCESS;
        while !single || list.is_empty() {
            let mark = enumeration.clone_place();
            let Some(entry) = self.next(enumeration)? else { break };
            match wire_entry(&entry, class).write(class, &mut list) {
                Pushed::Fits => enumeration.found = true,
                Pushed::Full => {
                    enumeration.go_back(mark);
                    break;
                }
                Pushed::Cut => {
                    enumeration.go_back(mark);
                    status = NtStatus::BUFFER_OVERFLOW;
                    break;
                }
                Pushed::TooSmall => {
                    enumeration.go_back(mark);
                    return Err(Refusal::new(NtStatus::INFO_LENGTH_MISMATCH, "the buffer is too small for one entry"));
                }
            }
        }
        if list.is_empty() {
            let status = if enumeration.found { NtStatus::NO_MORE_FILES } else { NtStatus::NO_SUCH_FILE };
            enumeration.found = true;
            return Err(Refusal::new(status, "nothing (more) matches"));
        }
        Ok((list.finish(), status))
    }

    fn begin(&self, text: &str) -> Result<Enumeration, Refusal> {
        let pattern = Pattern::new(text);
        let source = if pattern.has_wildcards() {
            Source::All(DirCursor::new(self.directory.as_ref())?)
        } else {
            // One look instead of a snapshot of what may be a large directory.
            let entry = self.path.join(text).ok().and_then(|path| self.look_up(&path));
            let entry = entry.filter(|entry| entry.path.file_name().is_some_and(|name| self.asker.may_see(self.path, name)));
            Source::One(entry.and_then(|entry| {
                let name = entry.path.file_name()?.to_owned();
                Some(Box::new(DirEntry { name, metadata: entry.metadata }))
            }))
        };
        let dots_given = if pattern.has_wildcards() { 0 } else { 2 };
        Ok(Enumeration { pattern, source, dots_given, found: false })
    }

    fn next(&self, enumeration: &mut Enumeration) -> Result<Option<DirEntry>, Refusal> {
        while let Some(name) = DOTS.get(usize::from(enumeration.dots_given)) {
            enumeration.dots_given += 1;
            if enumeration.pattern.matches(name) {
                return Ok(Some(DirEntry { name: (*name).to_owned(), metadata: self.dot(name)? }));
            }
        }
        let pattern = &enumeration.pattern;
        match &mut enumeration.source {
            Source::One(entry) => Ok(entry.take().map(|entry| *entry)),
            Source::All(cursor) => {
                let wanted = |name: &str| pattern.matches(name) && self.asker.may_see(self.path, name);
                Ok(cursor.next_matching(self.directory.as_ref(), wanted).transpose()?)
            }
        }
    }

    fn look_up(&self, path: &RelPath) -> Option<Entry> {
        let at = self.asker.reach(path).ok()?;
        self.asker.names().lookup(&at).ok()
    }

    /// Metadata of the directory, or of the one above; the root is its own parent.
    fn dot(&self, name: &str) -> Result<Metadata, Refusal> {
        let above = if name == ".." { self.path.parent() } else { None };
        if let Some(entry) = above.and_then(|above| self.look_up(&above)) {
            return Ok(entry.metadata);
        }
        Ok(self.directory.metadata()?)
    }
}

/// A place in an enumeration to go back to.
struct Place {
    dots_given: u8,
    source: PlaceInSource,
}

enum PlaceInSource {
    At(usize),
    One(Option<Box<DirEntry>>),
}

impl Enumeration {
    fn clone_place(&self) -> Place {
        let source = match &self.source {
            Source::All(cursor) => PlaceInSource::At(cursor.position()),
            Source::One(entry) => PlaceInSource::One(entry.clone()),
        };
        Place { dots_given: self.dots_given, source }
    }

    fn go_back(&mut self, place: Place) {
        self.dots_given = place.dots_given;
        match (&mut self.source, place.source) {
            (Source::All(cursor), PlaceInSource::At(position)) => cursor.seek(position),
            (Source::One(entry), PlaceInSource::One(before)) => *entry = before,
            (Source::All(_), PlaceInSource::One(_)) | (Source::One(_), PlaceInSource::At(_)) => {}
        }
    }
}

fn wire_entry(entry: &DirEntry, class: DirectoryClass) -> DirectoryEntry {
    let metadata = &entry.metadata;
    let mut file_id_128 = [0; 16];
    file_id_128[..8].copy_from_slice(&metadata.key.inode.to_le_bytes());
    DirectoryEntry {
        file_index: 0,
        creation_time: metadata.creation,
        last_access_time: metadata.last_access,
        last_write_time: metadata.last_write,
        change_time: metadata.change,
        end_of_file: metadata.size,
        allocation_size: metadata.allocation,
        file_attributes: metadata.attributes,
        ea_size: 0,
        reparse_tag: 0,
        short_name: if has_short_name(class) { short_name(&entry.name) } else { String::new() },
        file_id: metadata.key.inode,
        file_id_128,
        file_name: entry.name.clone(),
    }
}

fn has_short_name(class: DirectoryClass) -> bool {
    matches!(
        class,
        DirectoryClass::BothDirectory
            | DirectoryClass::IdBothDirectory
            | DirectoryClass::Id64ExtdBothDirectory
            | DirectoryClass::IdAllExtdBothDirectory
    )
}

/// The short name, if it is another than the name itself.
fn short_name(name: &str) -> String {
    if DOTS.contains(&name) {
        return String::new();
    }
    let short = smb_backend::name::short_name(name);
    if smb_backend::name::eq_ignore_case(&short, name) { String::new() } else { short }
}
