//! The verification trailer behind a request's stub: a client that cannot sign headers repeats there what the headers
//! said. It is found, checked and cut off.

use crate::fault::Fault;
use crate::pdu::PacketType;
use crate::syntax::{SyntaxId, TransferSyntax};

const SIGNATURE: [u8; 8] = [0x8A, 0xE3, 0x13, 0x71, 0x02, 0xF4, 0x36, 0x71];
const COMMAND_MASK: u16 = 0x3FFF;
const COMMAND_LAST: u16 = 0x4000;
const COMMAND_MUST_PROCESS: u16 = 0x8000;
const BITMASK: u16 = 1;
const PRESENTATION_CONTEXT: u16 = 2;
const HEADER: u16 = 3;

/// What the headers of a request say, and a trailer has to repeat.
pub(super) struct Said<'a> {
    pub(super) call_id: u32,
    pub(super) context_id: u16,
    pub(super) opnum: u16,
    pub(super) interface: &'a SyntaxId,
    pub(super) transfer: TransferSyntax,
}

/// Returns the length of the stub without its verification trailer, or the fault for one that contradicts the headers.
// MS-RPCE 2.2.2.13
pub(super) fn check(stub: &[u8], said: &Said<'_>) -> Result<usize, Fault> {
    let Some(start) = find(stub) else { return Ok(stub.len()) };
    let mut rest = &stub[start + SIGNATURE.len()..];
    loop {
        let Some((command, data, after)) = split_command(rest) else {
            // Not a trailer after all: ordinary data that happens to hold the signature.
            return Ok(stub.len());
        };
        let agrees = match command & COMMAND_MASK {
            BITMASK => data.len() == 4,
            PRESENTATION_CONTEXT => is_presentation_context(data, said),
            HEADER => data == header(said),
            _ => command & COMMAND_MUST_PROCESS == 0,
        };
        if !agrees {
            return Err(Fault::ACCESS_DENIED);
        }
        if command & COMMAND_LAST != 0 {
            return Ok(start);
        }
        rest = after;
    }
}

fn find(stub: &[u8]) -> Option<usize> {
    let last = stub.len().checked_sub(SIGNATURE.len() + 4)? / 4 * 4;
    (0..=last / 4).rev().map(|index| index * 4).find(|offset| stub[*offset..].starts_with(&SIGNATURE))
}

fn split_command(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(4)?;
    let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let (data, rest) = rest.split_at_checked(length)?;
    Some((u16::from_le_bytes([head[0], head[1]]), data, rest))
}

/// What the client bound may have a lower minor version than what we serve.
fn is_presentation_context(data: &[u8], said: &Said<'_>) -> bool {
    let Some((interface, transfer)) = data.split_first_chunk::<{ SyntaxId::BYTES }>() else { return false };
    said.interface.serves(&SyntaxId::from_bytes(interface)) && transfer == said.transfer.id().to_bytes()
}

fn header(said: &Said<'_>) -> Vec<u8> {
    let mut out = vec![PacketType::Request as u8, 0, 0, 0, 0x10, 0, 0, 0];
    out.extend_from_slice(&said.call_id.to_le_bytes());
    out.extend_from_slice(&said.context_id.to_le_bytes());
    out.extend_from_slice(&said.opnum.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epm::EPMAPPER;
    use crate::syntax::NDR20;

    fn said(call_id: u32, interface: &SyntaxId) -> Said<'_> {
        Said { call_id, context_id: 1, opnum: 3, interface, transfer: TransferSyntax::Ndr20 }
    }

    fn trailer(call_id: u32) -> Vec<u8> {
        let mut out = vec![1, 2, 3, 4];
        out.extend_from_slice(&SIGNATURE);
        out.extend_from_slice(&[1, 0, 4, 0, 1, 0, 0, 0]);
        out.extend_from_slice(&[2, 0, 40, 0]);
        out.extend_from_slice(&EPMAPPER.to_bytes());
        out.extend_from_slice(&NDR20.to_bytes());
        out.extend_from_slice(&[3, 0x40, 16, 0]);
        out.extend_from_slice(&header(&said(call_id, &EPMAPPER)));
        out
    }

    #[test]
    fn a_true_trailer_is_cut_off_and_a_false_one_refused() {
        assert_eq!(check(&trailer(7), &said(7, &EPMAPPER)), Ok(4));
        assert_eq!(check(&trailer(7), &said(8, &EPMAPPER)), Err(Fault::ACCESS_DENIED));
        assert_eq!(check(&trailer(7), &said(7, &NDR20)), Err(Fault::ACCESS_DENIED));
        let other_transfer = Said { transfer: TransferSyntax::Ndr64, ..said(7, &EPMAPPER) };
        assert_eq!(check(&trailer(7), &other_transfer), Err(Fault::ACCESS_DENIED));
        assert_eq!(check(&[1, 2, 3, 4], &said(7, &EPMAPPER)), Ok(4));
        let cut = trailer(7);
        assert_eq!(check(&cut[..20], &said(7, &EPMAPPER)), Ok(20));
    }
}
