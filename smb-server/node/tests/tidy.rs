//! Rules of the house that a compiler does not check: the import table of docs/ARCHITECTURE.md against `cargo metadata`, purity, where openraft
//! and rocksdb may be named, live links in the documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace has a root")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What each crate imports (normal dependencies) according to cargo.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let meta: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo prints JSON");
    let packages = meta["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|p| {
            let deps = p["dependencies"].as_array().expect("dependencies");
            let normal = deps.iter().filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().expect("name").to_owned()).collect();
            (p["name"].as_str().expect("name").to_owned(), normal)
        })
        .collect()
}

/// The table in docs/ARCHITECTURE.md: crate, pure or not, crates of ours that it may import.
fn table() -> BTreeMap<String, (bool, BTreeSet<String>)> {
    let text = read(root().join("docs/ARCHITECTURE.md"));
    let rows = text.lines().skip_while(|l| !l.starts_with("| crate ")).skip(2).take_while(|l| l.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        let may = cells[2].split(',').map(|s| s.trim().trim_matches('`').to_owned()).filter(|s| !s.is_empty() && s != "–").collect();
        (name, (cells[1] == "pure", may))
    })
    .collect()
}

#[test]
fn imports_are_those_of_the_table() {
    let (imports, table) = (imports(), table());
    assert_eq!(
        imports.keys().collect::<Vec<_>>(),
        table.keys().collect::<Vec<_>>(),
        "the crates of the workspace and of the table in docs/ARCHITECTURE.md differ"
    );
    for (name, deps) in &imports {
        let ours: BTreeSet<String> = deps.iter().filter(|d| table.contains_key(*d)).cloned().collect();
        let extra: Vec<_> = ours.difference(&table[name].1).collect();
        assert!(extra.is_empty(), "{name} imports {extra:?}, which the table in docs/ARCHITECTURE.md does not allow");
    }
}

#[test]
fn openraft_and_rocksdb_live_in_raftstore_only() {
    for (name, deps) in imports() {
        for dep in ["openraft", "rocksdb"] {
            assert_eq!(deps.contains(dep), name == "raftstore", "{dep} in {name}");
        }
    }
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for entry in entries {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn pure_crates_reach_no_clock_file_socket_or_randomness() {
    let dirs = [
        ("smb-types", "smb-server/types"),
        ("smb-proto", "smb-server/proto"),
        ("smb-auth", "smb-server/auth"),
        ("persistence-model", "persistence/model"),
    ];
    let (imports, table) = (imports(), table());
    for (name, dir) in dirs {
        assert!(table[name].0, "{name} is pure, the table says otherwise");
        for dep in ["tokio", "rustix", "xattr", "getrandom", "rand", "uuid", "axum"] {
            assert!(!imports[name].contains(dep), "{name} imports {dep}");
        }
        let mut files = Vec::new();
        sources(&root().join(dir).join("src"), &mut files);
        assert!(!files.is_empty(), "{name} has sources");
        for file in files {
            let text = read(&file);
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for word in [
                "std::fs",
                "TcpStream",
                "TcpListener",
                "UdpSocket",
                "ToSocketAddrs",
                "SystemTime::now",
                "Instant::now",
                "std::thread",
                "aws_lc_rs::rand",
                "SystemRandom",
            ] {
                assert!(!code.contains(word), "{} says {word}", file.display());
            }
        }
    }
    assert_eq!(table.values().filter(|(pure, _)| *pure).count(), dirs.len(), "a pure crate of the table is not checked here");
}

#[test]
fn links_in_the_documents_are_alive() {
    let root = root();
    let mut documents = vec![root.join("README.md")];
    let mut stack = vec![root.join("docs")];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(&dir).expect("docs").map(|e| e.expect("entry").path()) {
            if entry.is_dir() {
                stack.push(entry);
            } else if entry.extension().is_some_and(|e| e == "md") {
                documents.push(entry);
            }
        }
    }
    let mut checked = 0;
    for document in documents {
        let text = read(&document);
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().expect("a document has a folder").join(target);
            assert!(path.exists(), "{} links to {target}, which does not exist", document.display());
            checked += 1;
        }
    }
    assert!(checked > 0, "no link was checked");
}

/// What was found, with the file it stands in.
type Found = BTreeSet<(String, String)>;

/// Specification marks of all sources: (mark, file), and (file, deviation with its reason).
fn marks() -> (Found, Found) {
    let (mut rules, mut deviations) = (Found::new(), Found::new());
    for dir in ["smb-server", "witness", "persistence", "raftstore", "chaos"] {
        let mut files = Vec::new();
        sources(&root().join(dir), &mut files);
        for file in files {
            let name = file.strip_prefix(root()).expect("below the root").display().to_string();
            for line in read(&file).lines().filter_map(|line| line.trim_start().strip_prefix("// ")) {
                if line.starts_with("MS-") {
                    // Sections only: the rule in our words stays in the code.
                    let mut words = line.split_whitespace();
                    let document = words.next().unwrap_or_default();
                    for section in words.map(|word| word.trim_end_matches([',', ':', ';', '.'])) {
                        if !section.starts_with(|c: char| c.is_ascii_digit()) || !section.contains('.') {
                            break;
                        }
                        rules.insert((format!("{document} {section}"), name.clone()));
                    }
                } else if let Some(reason) = line.strip_prefix("deviation: ").or_else(|| line.strip_prefix("windows: ")) {
                    deviations.insert((name.clone(), reason.to_owned()));
                }
            }
        }
    }
    (rules, deviations)
}

#[test]
fn the_coverage_page_is_fresh() {
    let (rules, deviations) = marks();
    assert!(rules.len() > 50, "the marks were not found");
    let mut page = String::from(
        "# Protocol coverage\n\nMade from the marks in the sources (`HOLDFAST_BLESS=1 cargo test -p holdfast --test tidy`); do not edit.\n\n## Sections\n\n| section | files |\n|---|---|\n",
    );
    let mut by_section: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (section, file) in &rules {
        by_section.entry(section).or_default().push(format!("`{file}`"));
    }
    for (section, files) in by_section {
        page.push_str(&format!("| {section} | {} |\n", files.join(", ")));
    }
    page.push_str("\n## Where we differ, or follow Windows rather than the text\n\n| file | what and why |\n|---|---|\n");
    for (file, reason) in deviations {
        page.push_str(&format!("| `{file}` | {} |\n", reason.replace('|', "\\|")));
    }
    let path = root().join("docs/protocol/coverage.md");
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|kept| kept == page),
        "docs/protocol/coverage.md is stale: run the test with HOLDFAST_BLESS=1"
    );
}
