//! Reads the hex files of this folder: lines of `name:` with the bytes that follow them; `#` starts a comment.

use std::collections::BTreeMap;

/// The bytes of each name, in the order of the file.
pub(crate) fn in_order(text: &str) -> Vec<(&str, Vec<u8>)> {
    let mut vectors: Vec<(&str, Vec<u8>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_suffix(':') {
            Some(name) => vectors.push((name, Vec::new())),
            None => vectors.last_mut().expect("a name comes first").1.extend(bytes(line)),
        }
    }
    vectors
}

/// The bytes by their names.
#[allow(dead_code, reason = "not every test looks for names")]
pub(crate) fn named(text: &str) -> BTreeMap<&str, Vec<u8>> {
    in_order(text).into_iter().collect()
}

fn bytes(line: &str) -> Vec<u8> {
    let digits: Vec<u8> = line.trim().bytes().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
