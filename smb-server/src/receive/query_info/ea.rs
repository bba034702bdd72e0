//! Extended attributes (MS-FSCC 2.4.16, MS-FSA 2.1.5.12.10).

use std::sync::Arc;

use smb_backend::{BackendFile, Ea};
use smb_proto::{
    info::{EntryWriter, FullEa, Pushed, full_ea},
    message::query_info::{QueryInfoFlags, QueryInfoRequest},
};
use smb_types::NtStatus;

use super::Reply;
use crate::{blocking::blocking, error::Refusal};

/// Bytes that extended attributes take in a list, as FileEaInformation tells it; 0 for none.
pub(super) fn size_of(eas: &[Ea]) -> u32 {
    if eas.is_empty() {
        return 0;
    }
    // windows: four bytes for the list, and five besides name and value for each.
    let bytes = eas.iter().map(|ea| 5 + ea.name.len() + ea.value.len()).sum::<usize>() + 4;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Lists the extended attributes, all or those that the input names.
pub(super) fn query(file: &Arc<dyn BackendFile>, request: &QueryInfoRequest) -> Result<Reply, Refusal> {
    let stored = blocking(|| file.eas())?;
    let wanted = wanted(stored, &request.input)?;
    if wanted.is_empty() {
        return Err(Refusal::new(NtStatus::NO_EAS_ON_FILE, "no extended attributes"));
    }
    let first = if request.flags.contains(QueryInfoFlags::INDEX_SPECIFIED) {
        usize::try_from(request.additional_information).unwrap_or(usize::MAX).saturating_sub(1)
    } else {
        0
    };
    let single = request.flags.contains(QueryInfoFlags::RETURN_SINGLE_ENTRY);
    let mut list = EntryWriter::new(request.output_buffer_length, 4);
    let mut status = NtStatus::SUCCESS;
    for ea in wanted.iter().skip(first).take(if single { 1 } else { usize::MAX }) {
        match ea.write(&mut list) {
            Pushed::Fits => {}
            Pushed::Full => {
                status = NtStatus::BUFFER_OVERFLOW;
                break;
            }
            Pushed::Cut | Pushed::TooSmall => return Err(Refusal::new(NtStatus::BUFFER_TOO_SMALL, "not one attribute fits")),
        }
    }
    if list.is_empty() {
        return Err(Refusal::new(NtStatus::NO_EAS_ON_FILE, "no extended attribute at this index"));
    }
    Ok((list.finish(), status))
}

/// Those asked for; one that does not exist is answered with an empty value.
fn wanted(stored: Vec<Ea>, input: &[u8]) -> Result<Vec<FullEa>, Refusal> {
    if input.is_empty() {
        return Ok(stored.into_iter().map(|ea| FullEa { flags: 0, name: ea.name.into_bytes(), value: ea.value }).collect());
    }
    let names = full_ea::decode_names(input)?;
    Ok(names
        .into_iter()
        .map(|name| {
            let value = stored.iter().find(|ea| ea.name.as_bytes().eq_ignore_ascii_case(&name)).map(|ea| ea.value.clone());
            FullEa { flags: 0, name, value: value.unwrap_or_default() }
        })
        .collect())
}
