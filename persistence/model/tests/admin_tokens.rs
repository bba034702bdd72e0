//! Admin tokens: names, limits, and their bytes. The bytes in `golden/` are written with `HOLDFAST_BLESS=1`.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;

fn token(name: &str, hash: u8, role: AdminRole) -> AdminToken {
    AdminToken { hash: [hash; 32], name: name.to_owned(), role, made_unix_s: 1_900_000_000, expires_unix_s: None }
}

fn add(w: &mut World, token: AdminToken) -> Outcome {
    w.run(Command::AdminTokenAdd(token))
}

fn remove(w: &mut World, name: &str) -> Outcome {
    w.run(Command::AdminTokenRemove { name: name.to_owned() })
}

#[test]
fn a_token_is_found_by_its_hash_until_it_is_removed() {
    let mut w = World::new();
    assert_eq!(add(&mut w, token("prometheus", 1, AdminRole::Viewer)), Outcome::Done);
    assert_eq!(add(&mut w, token("ann@laptop", 2, AdminRole::Operator)), Outcome::Done);
    assert_eq!(w.state.admin_token(&[1; 32]).map(|token| token.role), Some(AdminRole::Viewer));
    assert_eq!(w.state.admin_token(&[3; 32]), None);
    assert_eq!(add(&mut w, token("Prometheus", 4, AdminRole::Viewer)), Outcome::Rejected(Rejection::Exists), "the name without case");
    assert_eq!(add(&mut w, token("other", 1, AdminRole::Viewer)), Outcome::Rejected(Rejection::Exists), "the secret");
    assert_eq!(remove(&mut w, "PROMETHEUS"), Outcome::Done);
    assert_eq!(remove(&mut w, "prometheus"), Outcome::Rejected(Rejection::NoSuchAdminToken));
    assert_eq!(w.state.admin_tokens().map(|token| token.name.as_str()).collect::<Vec<_>>(), ["ann@laptop"]);
}

#[test]
fn names_that_a_log_line_could_not_hold_are_refused() {
    let mut w = World::new();
    for bad in ["", "two words", "line\nbreak", "a\"b", "é", &"x".repeat(65)] {
        assert_eq!(add(&mut w, token(bad, 1, AdminRole::Viewer)), Outcome::Rejected(Rejection::InvalidName), "{bad:?}");
    }
    assert_eq!(add(&mut w, token(&"x".repeat(64), 1, AdminRole::Viewer)), Outcome::Done);
}

#[test]
fn there_is_a_last_token() {
    let mut w = World::new();
    for n in 0..1000_u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        assert_eq!(add(&mut w, AdminToken { hash, ..token(&format!("t{n}"), 0, AdminRole::Viewer) }), Outcome::Done);
    }
    assert_eq!(add(&mut w, token("one-more", 9, AdminRole::Viewer)), Outcome::Rejected(Rejection::LimitReached));
}

#[test]
fn a_token_ends_at_its_date() {
    let forever = token("a", 1, AdminRole::Viewer);
    let dated = AdminToken { expires_unix_s: Some(2_000_000_000), ..forever.clone() };
    assert!(!forever.is_over(u64::MAX));
    assert!(!dated.is_over(1_999_999_999) && dated.is_over(2_000_000_000));
    assert!(AdminRole::Viewer < AdminRole::Operator);
}

#[test]
fn a_restored_cluster_has_none() {
    let mut w = World::new();
    add(&mut w, token("prometheus", 1, AdminRole::Viewer));
    let (state, _) = w.state.reborn(LogTime(5000), &Rebirth::default()).unwrap();
    assert_eq!(state.admin_tokens().count(), 0);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn their_bytes_are_read_and_written() {
    let mut w = World::new();
    let before = w.state.clone();
    let dated = AdminToken { expires_unix_s: Some(1_900_086_400), ..token("ann@laptop", 2, AdminRole::Operator) };
    let commands = [
        Command::AdminTokenAdd(token("prometheus", 1, AdminRole::Viewer)),
        Command::AdminTokenAdd(dated),
        Command::AdminTokenAdd(token("gone", 3, AdminRole::Viewer)),
        Command::AdminTokenRemove { name: "gone".to_owned() },
    ];
    let mut lines = String::new();
    for command in &commands {
        assert_eq!(w.run(command.clone()), Outcome::Done);
        lines += &format!("command {} {}\n", hex(&codec::encode_command(command)), hex(&codec::encode_applied(&w.last)));
    }
    let kind = codec::Kind::AdminToken as u8;
    for (key, value) in w.state.all_records().into_iter().filter(|(key, _)| key[0] == kind) {
        lines += &format!("record {} {}\n", hex(&key), hex(&value));
    }
    let path = format!("{}/tests/golden/admin-tokens.hex", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(&path, &lines).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), lines);
    let mut again = before;
    for line in lines.lines().filter_map(|line| line.strip_prefix("command ")) {
        let (command, applied) = line.split_once(' ').unwrap();
        let command = codec::decode_command(&unhex(command)).unwrap();
        assert_eq!(again.apply(LogTime(w.now), &command), codec::decode_applied(&unhex(applied)).unwrap());
    }
    assert_eq!(again, w.state);
    assert_eq!(State::load(w.state.all_records()).unwrap(), w.state);
}
