//! As much DER as SPNEGO needs: definite lengths, single-byte tags, no recursion.

use crate::AuthError;

/// Longest token we read.
pub(crate) const TOKEN_LENGTH_MAX: usize = 0x1_0000;

/// One element after the other from a slice.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// One element: its tag and its content.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
}

/// What is wrong with every unreadable token.
pub(crate) const BAD: AuthError = AuthError::BadToken("SPNEGO");

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next element.
    pub(crate) fn next(&mut self) -> Result<Element<'a>, AuthError> {
        let tag = *self.0.first().ok_or(BAD)?;
        // Multi-byte tags do not occur.
        if tag & 0x1F == 0x1F {
            return Err(BAD);
        }
        let (header, length) = header_and_length(self.0).ok_or(BAD)??;
        let end = header.checked_add(length).ok_or(BAD)?;
        let (whole, rest) = self.0.split_at_checked(end).ok_or(BAD)?;
        self.0 = rest;
        Ok(Element { tag, content: whole.get(header..).ok_or(BAD)? })
    }

    /// Takes the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], AuthError> {
        let e = self.next()?;
        if e.tag == tag { Ok(e.content) } else { Err(BAD) }
    }
}

/// Reads all of `bytes` as one element with this tag and returns its content.
pub(crate) fn only(bytes: &[u8], tag: u8) -> Result<&[u8], AuthError> {
    let mut r = Reader::new(bytes);
    let content = r.expect(tag)?;
    if r.is_empty() { Ok(content) } else { Err(BAD) }
}

/// How long the element at the start of `bytes` is as a whole; None when too few bytes are there to tell.
pub(crate) fn whole_length(bytes: &[u8]) -> Result<Option<usize>, AuthError> {
    match header_and_length(bytes) {
        None => Ok(None),
        Some(Err(e)) => Err(e),
        Some(Ok((header, length))) => header.checked_add(length).map(Some).ok_or(BAD),
    }
}

/// Length of tag and length octets, and of the content. None when the bytes end before that is known.
fn header_and_length(bytes: &[u8]) -> Option<Result<(usize, usize), AuthError>> {
    let first = *bytes.get(1)?;
    if first < 0x80 {
        return Some(Ok((2, usize::from(first))));
    }
    let count = usize::from(first & 0x7F);
    // Indefinite lengths are no DER, and four octets hold more than the longest token.
    if count == 0 || count > 4 {
        return Some(Err(BAD));
    }
    let length = bytes.get(2..2 + count)?.iter().fold(0usize, |l, &b| l << 8 | usize::from(b));
    Some(if length > TOKEN_LENGTH_MAX { Err(BAD) } else { Ok((2 + count, length)) })
}

/// Writes one element.
pub(crate) fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|c| c.len()).sum();
    let mut out = Vec::with_capacity(length + 5);
    out.push(tag);
    let octets = length.to_be_bytes();
    let significant = octets.iter().position(|&b| b != 0).map_or(&octets[octets.len() - 1..], |i| &octets[i..]);
    if length >= 0x80 {
        // At most eight octets: a usize.
        out.push(0x80 | significant.len() as u8);
    }
    out.extend_from_slice(significant);
    content.iter().for_each(|c| out.extend_from_slice(c));
    out
}
